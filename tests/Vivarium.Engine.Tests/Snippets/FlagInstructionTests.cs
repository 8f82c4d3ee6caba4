using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>PUSHF and POPF in code of all sizes (SDM vol. 2, POPF, table 4-21): what they change, and when an interrupt comes.</summary>
public sealed class FlagInstructionTests
{
    private const uint Arithmetic = 0x8D5, Df = 1 << 10, If = 1 << 9, Iopl = 3 << 12, Nt = 1 << 14, Ac = 1 << 18, Id = 1 << 21;

    public static TheoryData<int, uint> Values
    {
        get
        {
            var data = new TheoryData<int, uint>();
            foreach (int bits in new[] { 16, 32, 64 })
            {
                foreach (uint value in new[] { 0u, Arithmetic, 1u, 0x800u, Df, If, If | Df | 0x40, Iopl | 0x80, Nt, Ac | Id | 4, 0xFFFF_FFFFu & ~(1u << 8) })
                {
                    data.Add(bits, value);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Values))]
    public void WhatIsPoppedIsPushed(int bits, uint value)
    {
        using SnippetMachine m = bits switch { 16 => Real(), 32 => Protected(), _ => Long() };
        m.Rdx = value;
        m.Write(c =>
        {
            if (bits == 16)
            {
                c.push(dx);
                c.popf();
                c.pushf();
                c.pop(cx);
            }
            else if (bits == 32)
            {
                c.push(edx);
                c.popfd();
                c.pushfd();
                c.pop(ecx);
            }
            else
            {
                c.push(rdx);
                c.popfq();
                c.pushfq();
                c.pop(rcx);
            }

            c.setc(bl);
            c.seto(bh);
            c.mov(di, sp);
            c.cld();
            c.cli();
            End(c, bits);
        });
        m.RunToEnd();
        uint settable = bits == 16 ? Arithmetic | Df | If | Iopl | Nt : Arithmetic | Df | If | Iopl | Nt | Ac | Id;
        Assert.Equal((value & settable) | 2, m.Rcx);
        Assert.Equal((value & 1) | (value >> 11 & 1) << 8, m.Rbx);
        Assert.Equal(Stack, m.Rdi);
    }

    /// <summary>An interrupt that waits comes right after POPF, and not before; while IF stays clear it goes on waiting.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AnInterruptThatWaitsComesAfterPopf(bool enables)
    {
        using SnippetMachine m = Protected();
        m.Bus.Interrupts.Enqueue(0x21);
        m.Cpu.RequestInterrupt();
        m.Rdx = enables ? If : Df;
        m.SetGate(0x21, SnippetMachine.Code + 0x800);
        m.Write(SnippetMachine.Code + 0x800, c =>
        {
            c.mov(esi, eax);
            c.@int((sbyte)EndVector);
        });
        m.Write(c =>
        {
            c.mov(eax, 1);
            c.push(edx);
            c.inc(eax);
            c.popfd();
            c.inc(eax);
            c.nop();
            c.mov(esi, 9);
            c.@int((sbyte)EndVector);
        });
        m.RunToEnd();
        Assert.Equal(enables ? 2u : 9u, m.Rsi);
    }

    [Fact]
    public void PopfOfAnOuterLevelChangesNeitherIfNorIopl()
    {
        using SnippetMachine m = Protected(cpl: 3);
        m.State.Rflags = 2 | If;
        m.Rdx = Iopl | Df;
        m.Write(c =>
        {
            c.push(edx);
            c.popfd();
            c.pushfd();
            c.pop(ecx);
            c.@int((sbyte)EndVector);
        });
        m.RunToEnd();
        Assert.Equal(2u | If | Df, m.Rcx);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void TheDirectionHolds(int bits)
    {
        using SnippetMachine m = bits switch { 16 => Real(), 32 => Protected(), _ => Long() };
        m.Rsi = 0x600;
        m.Write(c =>
        {
            c.std();
            c.lodsb();
            c.lodsb();
            c.cld();
            c.lodsb();
            End(c, bits);
        });
        m.RunToEnd();
        Assert.Equal(0x5FFul, m.Rsi);
    }

    private static void End(Assembler c, int bits)
    {
        if (bits == 16)
        {
            c.hlt();
        }
        else
        {
            c.@int(EndVector);
        }
    }
}
