using System.Collections.Immutable;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>What a debugger outside of the guest asks of a vCPU (<see cref="GuestDebug"/>).</summary>
public sealed class GuestDebugTests
{
    /// <summary>mov ecx, 3; again: inc eax; mov [Data], eax; dec ecx; jnz again; hlt.</summary>
    private static SnippetMachine Loop()
    {
        SnippetMachine m = Long();
        m.WriteBytes(Code, 0xB9, 3, 0, 0, 0, 0xFF, 0xC0, 0x89, 0x04, 0x25, 0, 0, 3, 0, 0xFF, 0xC9, 0x75, 0xF3, 0xF4);
        m.Cpu.SetState(m.State);
        return m;
    }

    private const ulong Again = Code + 5;
    private const ulong Store = Code + 7;
    private const ulong Next = Code + 14;
    private const ulong End = Code + 19;

    private static GuestDebug Break(params ulong[] addresses) => new() { Breakpoints = [.. addresses] };

    private static GuestDebug Watch(ulong address, ulong length, WatchKind kind) => new() { Watchpoints = [new Watchpoint(address, length, kind)] };

    private static VmExit Run(SnippetMachine m)
    {
        m.Cpu.Run(out VmExit exit);
        m.Cpu.GetState(m.State);
        return exit;
    }

    private static void Step(SnippetMachine m, GuestDebug then)
    {
        m.Cpu.SetGuestDebug(then with { SingleStep = true });
        VmExit exit = Run(m);
        Assert.Equal((ExitReason.Debug, DebugCause.Step), (exit.Reason, exit.DebugCause));
        m.Cpu.SetGuestDebug(then);
    }

    [Theory]
    [InlineData(Code)]
    [InlineData(Again)]
    [InlineData(Store)]
    [InlineData(Next)]
    public void ABreakpointStopsBeforeItsInstructionEachTime(ulong address)
    {
        using SnippetMachine m = Loop();
        m.Cpu.SetGuestDebug(Break(address));
        int times = address == Code ? 1 : 3;
        for (uint i = 0; i < times; i++)
        {
            VmExit exit = Run(m);
            Assert.Equal((ExitReason.Debug, DebugCause.Breakpoint), (exit.Reason, exit.DebugCause));
            Assert.Equal(address, m.State.Rip);
            Assert.Equal(address > Again ? i + 1 : i, m.Rax);
            Step(m, Break(address));
        }

        Assert.Equal(ExitReason.Halt, Run(m).Reason);
        Assert.Equal(3u, m.Rax);
    }

    [Fact]
    public void ABreakpointInCodeThatRunsAlreadyIsMet()
    {
        using SnippetMachine m = Loop();
        Assert.Equal(ExitReason.Halt, Run(m).Reason);
        m.State.Rip = Code;
        m.State.Halted = false;
        m.Cpu.SetState(m.State);
        m.Cpu.SetGuestDebug(Break(Next));
        Assert.Equal(DebugCause.Breakpoint, Run(m).DebugCause);
        Assert.Equal(Next, m.State.Rip);

        m.Cpu.SetGuestDebug(null);
        Assert.Equal(ExitReason.Halt, Run(m).Reason);
    }

    [Fact]
    public void ABreakpointThatWasTakenAwayIsNotMet()
    {
        using SnippetMachine m = Loop();
        m.Cpu.SetGuestDebug(Break(Store));
        Assert.Equal(DebugCause.Breakpoint, Run(m).DebugCause);
        m.Cpu.SetGuestDebug(Break(Code));
        Assert.Equal(ExitReason.Halt, Run(m).Reason);
        Assert.Equal(3u, m.Rax);
    }

    [Fact]
    public void TheGuestSeesNothingOfABreakpoint()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.mov(rax, __qword_ptr[Code]);
            c.mov(rdx, dr7);
            c.pushfq();
            c.pop(rbx);
            c.hlt();
        });
        ulong code = m.Memory.Read<ulong>(Code);
        m.Cpu.SetState(m.State);
        m.Cpu.SetGuestDebug(Break(Code) with { SingleStep = true, Watchpoints = [new Watchpoint(Data, 8, WatchKind.Access)] });
        VmExit exit;
        do
        {
            exit = Run(m);
        }
        while (exit.Reason == ExitReason.Debug && !m.State.Halted);

        Assert.Equal(code, m.Rax);
        Assert.Equal(0x400u, m.Rdx);
        Assert.Equal(0u, m.Rbx & (1 << 8));
    }

    [Fact]
    public void AStepIsOneInstructionOrOneIteration()
    {
        using SnippetMachine m = Long();
        m.Rcx = 2;
        m.Rsi = Data;
        m.Rdi = Data + 0x100;
        m.WriteBytes(Code, 0x90, 0xF3, 0xA4, 0x90, 0xF4); // nop; rep movsb; nop; hlt
        m.Cpu.SetState(m.State);
        List<(ulong, ulong)> steps = [];
        for (int i = 0; i < 4; i++)
        {
            Step(m, new GuestDebug());
            steps.Add((m.State.Rip - Code, m.Rcx));
        }

        Assert.Equal([(1, 2), (1, 1), (3, 0), (4, 0)], steps);
    }

    [Fact]
    public void AStepThatFaultsEndsAtTheHandler()
    {
        using SnippetMachine m = Long();
        m.SetGate(6, Code + 0x400);
        m.WriteBytes(Code, 0x0F, 0x0B); // ud2
        m.Cpu.SetState(m.State);
        Step(m, new GuestDebug());
        Assert.Equal(Code + 0x400, m.State.Rip);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void InterruptsWaitForAStepIfTheyAreBlocked(bool block)
    {
        using SnippetMachine m = Long();
        m.SetGate(0x40, Code + 0x400);
        m.WriteBytes(Code, 0x90, 0x90, 0xF4);
        m.WriteBytes(Code + 0x400, 0x90, 0x90, 0xF4);
        m.State.Rflags |= 1 << 9;
        m.Cpu.SetState(m.State);
        m.Bus.Interrupts.Enqueue(0x40);
        m.Cpu.RequestInterrupt();
        m.Cpu.SetGuestDebug(new GuestDebug { SingleStep = true, BlockInterrupts = block });
        Assert.Equal(DebugCause.Step, Run(m).DebugCause);
        Assert.Equal(block ? Code + 1 : Code + 0x401, m.State.Rip);
        Assert.Equal(block ? 1 : 0, m.Bus.Interrupts.Count);
    }

    [Theory]
    [InlineData(Data, 4, WatchKind.Write, Data)]
    [InlineData(Data, 4, WatchKind.Access, Data)]
    [InlineData(Data + 3, 1, WatchKind.Write, Data + 3)]
    [InlineData(Data - 6, 8, WatchKind.Write, Data)]
    public void AWatchpointStopsAfterTheAccess(ulong address, ulong length, WatchKind kind, ulong reported)
    {
        using SnippetMachine m = Loop();
        m.Cpu.SetGuestDebug(Watch(address, length, kind));
        for (uint i = 1; i <= 3; i++)
        {
            VmExit exit = Run(m);
            Assert.Equal((ExitReason.Debug, DebugCause.Watchpoint), (exit.Reason, exit.DebugCause));
            Assert.Equal(new Watchpoint(address, length, kind), exit.Watchpoint);
            Assert.Equal(reported, exit.WatchedAddress);
            Assert.Equal(Next, m.State.Rip);
            Assert.Equal(i, m.Memory.Read<uint>(Data));
        }

        Assert.Equal(ExitReason.Halt, Run(m).Reason);
    }

    [Theory]
    [InlineData(Data, 4, WatchKind.Read)]
    [InlineData(Data + 4, 4, WatchKind.Access)]
    [InlineData(Data - 4, 4, WatchKind.Access)]
    public void OtherAccessesMeetNoWatchpoint(ulong address, ulong length, WatchKind kind)
    {
        using SnippetMachine m = Loop();
        m.Cpu.SetGuestDebug(Watch(address, length, kind));
        Assert.Equal(ExitReason.Halt, Run(m).Reason);
        Assert.Equal(3u, m.Rax);
    }

    [Fact]
    public void AWatchpointOnAPageThatTheTlbHoldsIsMet()
    {
        using SnippetMachine m = Loop();
        m.Cpu.SetGuestDebug(Break(Next));
        Assert.Equal(DebugCause.Breakpoint, Run(m).DebugCause);
        m.Cpu.SetGuestDebug(Watch(Data, 4, WatchKind.Write));
        Assert.Equal(DebugCause.Watchpoint, Run(m).DebugCause);
        Assert.Equal(2u, m.Memory.Read<uint>(Data));
    }

    [Fact]
    public void ARepeatedInstructionStopsWithTheIterationThatIsWatched()
    {
        using SnippetMachine m = Long();
        m.Rcx = 100;
        m.Rdi = Data;
        m.WriteBytes(Code, 0xF3, 0xAA, 0xF4); // rep stosb; hlt
        m.Cpu.SetState(m.State);
        m.Cpu.SetGuestDebug(Watch(Data + 50, 1, WatchKind.Write));
        VmExit exit = Run(m);
        Assert.Equal(DebugCause.Watchpoint, exit.DebugCause);
        Assert.Equal((Code, 49ul), (m.State.Rip, m.Rcx));
        Assert.Equal(ExitReason.Halt, Run(m).Reason);
        Assert.Equal(0u, m.Rcx);
    }

    [Fact]
    public void BreakpointsAreLinearWhereTheCodeSegmentHasABase()
    {
        using SnippetMachine m = Real();
        m.State.Segments[1] = m.State.Segments[1] with { Base = 0x1000, Selector = 0x100 };
        m.State.Rip = RealCode - 0x1000;
        m.WriteBytes(RealCode, 0x90, 0x90, 0x90, 0xF4);
        m.Cpu.SetState(m.State);
        m.Cpu.SetGuestDebug(Break(RealCode + 2, RealCode - 0x1000 + 1));
        Assert.Equal(DebugCause.Breakpoint, Run(m).DebugCause);
        Assert.Equal(RealCode - 0x1000 + 2, m.State.Rip);
    }

    [Fact]
    public void LookingUpAnAddressNeedsNoRightsAndMarksNothing()
    {
        using SnippetMachine m = Long();
        m.Cpu.SetState(m.State);
        ulong[] before = Tables(m);
        Assert.True(m.Cpu.TryTranslate(Data + 5, out ulong gpa));
        Assert.Equal(Data + 5, gpa);
        Assert.False(m.Cpu.TryTranslate(Spare, out _));
        Assert.False(m.Cpu.TryTranslate(0x8000_0000_0000_0000, out _));
        Assert.Equal(before, Tables(m));

        static ulong[] Tables(SnippetMachine m) => [.. Enumerable.Range(0, 0x1_0000).Select(i => m.Memory.Read<ulong>(SnippetMachine.Tables + ((ulong)i * 8)))];
    }
}
