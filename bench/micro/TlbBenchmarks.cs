using BenchmarkDotNet.Attributes;
using Iced.Intel;
using Vivarium.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Micro;

/// <summary>Loads that walk through more and more pages of 4 KiB: from hits in the vCPU's own TLB to a page walk for each.</summary>
public class TlbBenchmarks
{
    private const int Loads = 1 << 18;

    private BareMachine _machine = null!;

    /// <summary>How many pages take turns.</summary>
    [Params(64, 1024, 16384)]
    public int Pages { get; set; }

    [GlobalSetup]
    public void Prepare()
    {
        _machine = new BareMachine();
        _machine.Write(a =>
        {
            Label again = a.CreateLabel(), turn = a.CreateLabel();
            a.Label(ref again);
            a.mov(edx, Loads);
            a.mov(rbx, BareMachine.Data);
            a.xor(ecx, ecx);
            a.Label(ref turn);
            a.mov(rax, __qword_ptr[rbx + rcx]);
            // A line further in each page, so that the host's cache has all its sets.
            a.add(rcx, (int)GuestMemory.PageSize + 64);
            a.and(rcx, (int)(((ulong)Pages * GuestMemory.PageSize) - 1));
            a.dec(edx);
            a.jne(turn);
            a.hlt();
            a.jmp(again);
        });
        _machine.Start();
    }

    /// <summary>One load.</summary>
    [Benchmark(OperationsPerInvoke = Loads)]
    public void Load() => _machine.RunToHalt();

    [GlobalCleanup]
    public void Clean() => _machine.Dispose();
}
