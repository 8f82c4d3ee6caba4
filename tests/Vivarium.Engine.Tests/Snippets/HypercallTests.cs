using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>VMCALL and VMMCALL as guests make them, and what the bus may ask of a vCPU beside interrupts.</summary>
public sealed class HypercallTests
{
    private const ulong High = 0x1234_5678_0000_0000;

    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 0)]
    [InlineData(true, 3)]
    [InlineData(false, 3)]
    public void In64BitCodeAllOfTheRegistersCount(bool intel, int cpl)
    {
        using SnippetMachine m = Long(cpl);
        SetArguments(m);
        m.Bus.HypercallAnswer = unchecked((ulong)-1000);
        Write(m, intel);
        m.RunToEnd();
        Assert.Equal([new Hypercall(High | 1, High | 2, High | 3, High | 4, High | 5, Is64Bit: true, cpl)], m.Bus.Hypercalls);
        Assert.Equal(unchecked((ulong)-1000), m.Rax);
    }

    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 0)]
    [InlineData(true, 3)]
    public void InCompatibilityModeTheyAreCut(bool intel, int cpl)
    {
        using SnippetMachine m = Compatibility(cpl);
        SetArguments(m);
        m.Bus.HypercallAnswer = unchecked((ulong)-14);
        Write(m, intel);
        m.RunToEnd();
        Assert.Equal([new Hypercall(1, 2, 3, 4, 5, Is64Bit: false, cpl)], m.Bus.Hypercalls);
        Assert.Equal(0xFFFF_FFF2ul, m.Rax);
    }

    [Fact]
    public void ProtectedModeMakesThemToo()
    {
        using SnippetMachine m = Protected();
        m.Rax = 9;
        m.Rsi = 7;
        m.Bus.HypercallAnswer = 3;
        Write(m, intel: false);
        m.RunToEnd();
        Assert.Equal((9ul, 7ul, 0), (m.Bus.Hypercalls[0].Number, m.Bus.Hypercalls[0].A3, m.Bus.Hypercalls[0].Cpl));
        Assert.Equal(3ul, m.Rax);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhereNobodyAnswersItIsAnInvalidOpcode(bool intel)
    {
        using SnippetMachine m = Long();
        m.Rax = 5;
        Write(m, intel);
        Assert.Equal(Code, m.RunToFault(6).Rip);
        Assert.Equal(5ul, m.Rax);
    }

    [Fact]
    public void AnUnhaltEndsAHltWithInterruptsOff()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.hlt();
            c.mov(eax, 1);
            c.hlt();
            c.mov(eax, 2);
            c.hlt();
        });
        Assert.Equal(ExitReason.Halt, m.Run().Reason);
        Assert.False(m.Cpu.HasPendingEvent);
        m.Cpu.RequestUnhalt();
        m.Cpu.RequestUnhalt();
        Assert.True(m.Cpu.HasPendingEvent);
        Assert.Equal(ExitReason.Halt, m.Continue().Reason);
        Assert.Equal(1ul, m.Rax);

        // One that comes before the HLT ends it.
        m.Bus.OnPortWrite = _ => m.Cpu.RequestUnhalt();
        m.Write(Code, c =>
        {
            c.@out(0x80, al);
            c.hlt();
            c.mov(eax, 3);
            c.hlt();
        });
        m.Restart(Code);
        m.RunToEnd();
        Assert.Equal(3ul, m.Rax);
        Assert.False(m.Cpu.HasPendingEvent);
    }

    [Fact]
    public void ARequestedTlbFlushComesBeforeTheNextInstruction()
    {
        using SnippetMachine m = Long();
        const ulong Other = 0x4_0000;
        m.Pages.Map(Spare, Data, PageTables.P | PageTables.Rw | PageTables.G);
        m.Memory.Write(Data, 1ul);
        m.Memory.Write(Other, 2ul);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.mov(rax, __[rbx]);
            c.hlt();
            c.mov(rcx, __[rbx]);
            c.hlt();
            c.mov(rdx, __[rbx]);
            c.hlt();
        });
        m.State.Cr4 |= Cr4Bits.Pge;
        Assert.Equal(ExitReason.Halt, m.Run().Reason);
        m.Pages.Map(Spare, Other, PageTables.P | PageTables.Rw | PageTables.G);
        m.Cpu.RequestUnhalt();
        Assert.Equal(ExitReason.Halt, m.Continue().Reason);
        m.Cpu.RequestTlbFlush();
        m.Cpu.RequestUnhalt();
        Assert.Equal(ExitReason.Halt, m.Continue().Reason);
        Assert.Equal((1ul, 1ul, 2ul), (m.Rax, m.Rcx, m.Rdx));
    }

    [Fact]
    public void TheBusHearsOfASetTimeStampCounter()
    {
        using SnippetMachine m = Long();
        m.Rcx = 0x3B;
        m.Rax = 0x1000_0000;
        m.Write(c =>
        {
            c.wrmsr();
            c.mov(ecx, 0x10);
            c.rdmsr();
            c.wrmsr();
            c.hlt();
        });
        m.Cpu.SetState(m.State);
        ulong before = m.Cpu.TscOffset;
        AssertEnd(m.Continue());
        Assert.Equal(2, m.Bus.TscMoves);
        Assert.InRange(m.Cpu.TscOffset - before, 0u, 0x1000_0000u);
    }

    private static void SetArguments(SnippetMachine m)
    {
        m.Rax = High | 1;
        m.Rbx = High | 2;
        m.Rcx = High | 3;
        m.Rdx = High | 4;
        m.Rsi = High | 5;
    }

    private static void Write(SnippetMachine m, bool intel) => m.Write(c =>
    {
        if (intel)
        {
            c.vmcall();
        }
        else
        {
            c.vmmcall();
        }

        c.@int(EndVector);
    });
}
