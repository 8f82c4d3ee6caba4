using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Segment registers in real mode: a load changes selector and base, never limit and rights (SDM vol. 3A, 20.1.1, 9.9.2).</summary>
public sealed class RealModeSegmentTests
{
    [Fact]
    public void LoadsMoveTheBaseForWhatFollows()
    {
        using SnippetMachine m = Real();
        m.Memory.Write<ushort>(0x3_0010, 0x1111);
        m.Memory.Write<ushort>(0x4_0010, 0x2222);
        m.Memory.Write<uint>(0x600, 0x4000_0010);
        m.Rdx = 0xABCD_3000;
        m.Write(c =>
        {
            c.mov(ds, dx);
            c.mov(ax, __word_ptr[0x10]);
            c.push(ds);
            c.pop(fs);
            c.xor(si, si);
            c.mov(ds, si);
            c.les(bx, __dword_ptr[0x600]);
            c.stc();
            c.push(es);
            c.pop(gs);
            c.mov(di, gs);
            c.mov(si, __word_ptr.es[bx]);
            c.setc(cl);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x1111ul, 0x10ul, 0x2222ul, 0x4000ul, 1ul), (m.Rax, m.Rbx, m.Rsi, m.Rdi, m.Rcx));
        Assert.Equal((0x3000, 0x3_0000ul), (m.State.Segments[4].Selector, m.State.Segments[4].Base));
        Assert.Equal((0x4000, 0x4_0000ul), (m.State.Segments[5].Selector, m.State.Segments[5].Base));
        Assert.Equal((0x4000, 0xFFFFu, 0x93u), (m.State.Segments[0].Selector, m.State.Segments[0].Limit, m.State.Segments[0].Attributes));
        Assert.Equal(Stack, m.Rsp);
    }

    [Fact]
    public void LimitsStayAsProtectedModeLeftThem()
    {
        using SnippetMachine m = Real();
        m.State.Segments[3].Limit = uint.MaxValue;
        m.Memory.Write<byte>(0x30_0000 + 0x2_0000, 0x42);
        m.Rdx = 0x2000;
        m.Rbx = 0x30_0000;
        m.Write(c =>
        {
            c.mov(ds, dx);
            c.mov(al, __byte_ptr[ebx]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x42ul, uint.MaxValue), (m.Rax, m.State.Segments[3].Limit));
    }

    [Fact]
    public void ASegmentThatProtectedModeLeftUnusableCanBeUsed()
    {
        using SnippetMachine m = Real();
        m.State.Segments[0] = new SegmentRegister { Attributes = SegmentRegister.Unusable };
        m.Rdx = 0x3000;
        m.Rax = 0x77;
        m.Write(c =>
        {
            c.mov(es, dx);
            c.mov(__byte_ptr.es[0x20], al);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x77, m.Memory.Read<byte>(0x3_0020));
    }

    /// <summary>Between MOV SS and the next instruction, which loads SP, there is no interrupt.</summary>
    [Fact]
    public void AnInterruptWaitsForTheInstructionAfterMovSs()
    {
        using SnippetMachine m = Real();
        m.Memory.Write<uint>(0x21 * 4, 0x2000_0000);
        m.Write(0, c =>
        {
            c.mov(di, ss);
            c.mov(si, sp);
            c.hlt();
        }, physical: 0x2_0000);
        m.Rdx = 0x3000;
        m.State.Rflags = 2 | (1 << 9);
        m.Bus.OnPortWrite = _ =>
        {
            m.Bus.Interrupts.Enqueue(0x21);
            m.Cpu.RequestInterrupt();
        };
        m.Write(c =>
        {
            c.cli();
            c.@out(0x80, al);
            c.sti();
            c.mov(ss, dx);
            c.mov(sp, 0x1000);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x3000u, m.Rdi);
        Assert.Equal(0x1000u - 6, m.Rsi);
    }

    [Fact]
    public void FlatSegmentsOfProtectedModeAreLeftByALoad()
    {
        using SnippetMachine m = Real();
        for (int i = 0; i < 6; i++)
        {
            m.State.Segments[i].Limit = uint.MaxValue;
        }

        m.Memory.Write<byte>(0x3_0010, 0x42);
        m.Rdx = 0x3000;
        m.Write(c =>
        {
            c.mov(ds, dx);
            c.mov(al, __byte_ptr[0x10]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x42u, m.Rax);
    }
}
