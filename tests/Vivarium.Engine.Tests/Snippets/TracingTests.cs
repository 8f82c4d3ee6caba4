using Vivarium.Engine.Tracing;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>What a vCPU tells while it is traced.</summary>
public sealed class TracingTests
{
    [Fact]
    public void EachKindTellsItsOwnAndWhereInTheGuest()
    {
        Assert.Equal([(TraceEvent.PortWrite, Code + 5, 0x80ul, 7ul), (TraceEvent.PortRead, Code + 7, 0x81ul, 9ul)], Trace(TraceKinds.Pio));
        Assert.Equal([(TraceEvent.MmioWrite, Code + 9, MmioGpa, 9ul), (TraceEvent.MmioRead, Code + 14, MmioGpa, 9ul)], Trace(TraceKinds.Mmio));
        Assert.Equal([(TraceEvent.MsrRead, 0x174ul, 0ul)], Trace(TraceKinds.Msr).Select(record => (record.Item1, record.Item3, record.Item4)));
        Assert.Equal(5, Trace(TraceKinds.Pio | TraceKinds.Mmio | TraceKinds.Irq | TraceKinds.Msr).Count);
        Assert.All(Trace(TraceKinds.Exits), record => Assert.Equal(TraceEvent.Exit, record.Item1));
        Assert.Empty(Trace(TraceKinds.Irq));
    }

    [Fact]
    public void InterruptsAndTlbMissesAreTold()
    {
        using SnippetMachine m = Long();
        var trace = new TraceBuffer(TraceKinds.Irq | TraceKinds.Exits);
        m.Cpu.Trace(trace);
        m.Write(c =>
        {
            c.mov(rax, __[Data + 24]);
            c.sti();
            c.nop();
            c.hlt();
        });
        m.Bus.Interrupts.Enqueue(0x40);
        m.Cpu.RequestInterrupt();
        _ = m.RunToFault(0x40);
        List<TraceRecord> records = Take(trace);
        Assert.Contains(records, record => record is { Event: TraceEvent.Exit, Detail: (byte)ExitCause.TlbMiss, Rip: Code, Address: Data + 24 });
        Assert.Equal(0x40, Assert.Single(records, record => record.Event == TraceEvent.Interrupt).Detail);
        Assert.Equal(records.Select(record => record.Tsc).Order(), records.Select(record => record.Tsc));
    }

    [Fact]
    public void WhatIsNotTracedAnyMoreIsNotTold()
    {
        using SnippetMachine m = Long();
        var trace = new TraceBuffer(TraceKinds.Exits | TraceKinds.Pio);
        m.Cpu.Trace(trace);
        m.Cpu.Trace(null);
        m.Write(c =>
        {
            c.@out(0x80, al);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Empty(Take(trace));
        Assert.Null(m.Cpu.Statistics.Observer);
    }

    [Fact]
    public void AFullBufferLosesAndCountsAndGoesOn()
    {
        var trace = new TraceBuffer(TraceKinds.Pio);
        for (uint i = 0; i < 100_000; i++)
        {
            trace.Add(TraceEvent.PortWrite, 1, i);
        }

        List<TraceRecord> first = Take(trace);
        Assert.Equal(100_000, first.Count + trace.Lost);
        Assert.True(trace.Lost > 0, "nothing was lost");
        Assert.Equal((ulong)first.Count - 1, first[^1].Rip);
        trace.Add(TraceEvent.PortWrite, 1, 7);
        Assert.Equal(7ul, Assert.Single(Take(trace)).Rip);
        trace.Add(TraceEvent.PortWrite, 1, 8);
        var none = new List<TraceRecord>();
        trace.Take(first[0].Tsc, none);
        Assert.Empty(none);
    }

    private static List<(TraceEvent, ulong, ulong, ulong)> Trace(TraceKinds kinds)
    {
        using SnippetMachine m = Protected();
        var trace = new TraceBuffer(kinds);
        m.Cpu.Trace(trace);
        m.Bus.PortAnswers.Enqueue(9);
        m.Write(c =>
        {
            c.mov(eax, 7);
            c.@out(0x80, al);
            c.@in(al, 0x81);
            c.mov(__dword_ptr[MmioGpa], eax);
            c.mov(eax, __dword_ptr[MmioGpa]);
            c.mov(ecx, 0x174);
            c.rdmsr();
            c.hlt();
        });
        m.RunToEnd();
        return [.. Take(trace).Select(record => (record.Event, record.Rip, record.Address, record.Value))];
    }

    private static List<TraceRecord> Take(TraceBuffer trace)
    {
        var records = new List<TraceRecord>();
        trace.Take(ulong.MaxValue, records);
        return records;
    }
}
