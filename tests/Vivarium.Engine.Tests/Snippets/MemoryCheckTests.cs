using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>What the checks of memory operands must leave alone, and where translated code finds pages by itself.</summary>
public sealed class MemoryCheckTests
{
    private const ulong Arithmetic = 0x8D5;

    /// <summary>Pages so far apart have one place in the first-level TLB.</summary>
    private const ulong Alias = 4096ul << NativeTlb.IndexBits;

    /// <summary>Operands of ADD AL, BL and the flags that it leaves (SDM vol. 1, 3.4.3.1).</summary>
    public static TheoryData<byte, byte, ulong> Sums => new()
    {
        { 0x7F, 0x01, 0x890 },
        { 0xFF, 0x01, 0x055 },
        { 0x80, 0x80, 0x845 },
        { 0x01, 0x01, 0x000 },
        { 0xF0, 0x08, 0x080 },
    };

    [Theory]
    [MemberData(nameof(Sums))]
    public void FlagsOutliveAccesses(byte left, byte right, ulong flags)
    {
        using SnippetMachine m = Long();
        (m.Rax, m.Rbx, m.Rsi) = (left, right, Data);
        m.Write(c =>
        {
            c.add(al, bl);
            c.mov(__[rsi + 0x10], rsi);
            c.mov(rcx, __[rsi + 0x1008]);
            c.push(rcx);
            c.pop(rdx);
            c.pushfq();
            c.pop(rdi);
            c.mov(rcx, __[rsi + 0x18]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(flags, m.Rdi & Arithmetic);
        Assert.Equal(flags, m.State.Rflags & Arithmetic);
        Assert.Equal((byte)(left + right), (byte)m.Rax);
    }

    [Theory]
    [MemberData(nameof(Sums))]
    public void AFaultFrameHoldsFlagsThatNobodyReads(byte left, byte right, ulong flags)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data, 0);
        (m.Rax, m.Rbx, m.Rsi, m.Rdi) = (left, right, Data, Spare);
        m.Write(c =>
        {
            c.add(al, bl);
            c.mov(rcx, __[rsi]);
            c.mov(rcx, __[rdi]);
            c.xor(eax, eax);
            c.hlt();
        });
        Assert.Equal(flags, m.RunToFault(14).Rflags & Arithmetic);
    }

    [Fact]
    public void ARefusedDivisionFindsTheFlagsFromBeforeItsCheck()
    {
        using SnippetMachine m = Long();
        (m.Rax, m.Rbx, m.Rsi) = (0x7F, 1, Data);
        m.Memory.Write(Data, 0ul);
        m.Write(c =>
        {
            c.add(al, bl);
            c.div(__byte_ptr[rsi]);
            c.hlt();
        });
        Assert.Equal(0x890ul, m.RunToFault(0).Rflags & Arithmetic);
    }

    /// <summary>INC keeps CF, a shift by CL may keep all, ADC reads: each behind a check.</summary>
    [Fact]
    public void InstructionsThatKeepOrReadFlagsGetThem()
    {
        using SnippetMachine m = Long();
        m.Rsi = Data;
        m.Memory.Write(Data, 5ul);
        m.Write(c =>
        {
            c.mov(eax, -1);
            c.xor(ecx, ecx);
            c.add(eax, 1);
            c.inc(__qword_ptr[rsi]);
            c.setc(dl);
            c.stc();
            c.adc(__qword_ptr[rsi], 0);
            c.stc();
            c.shl(__qword_ptr[rsi], cl);
            c.setc(dh);
            c.cmp(eax, 0);
            c.cmovz(rbx, __[rsi]);
            c.bt(__qword_ptr[rsi], 0);
            c.setc(al);
            c.setz(ah);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0101ul, m.Rdx & 0xFFFF);
        Assert.Equal(7ul, m.Rbx);
        Assert.Equal(0x0101ul, m.Rax & 0xFFFF);
    }

    [Theory]
    [InlineData("")]
    [InlineData("no-second-level-tlb")]
    public void PagesThatCompeteForAPlaceAreFoundWithoutTheMonitor(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        SetUpCompetition(m);
        m.RunToEnd();
        Assert.Equal(1001ul, m.Memory.Read<ulong>(Data));
        Assert.Equal(2002ul, m.Memory.Read<ulong>(Data + 0x1000));
        Assert.Equal(options.Length == 0, m.Cpu.Statistics.TlbMisses < 100);
    }

    [Theory]
    [InlineData("invlpg")]
    [InlineData("cr3")]
    public void WhatTheSecondLevelHoldsGoesWhenTheGuestSays(string how)
    {
        using SnippetMachine m = Long();
        SetUpCompetition(m, how);
        const ulong window = Spare + 0x8000;
        ulong entry = m.Pages.Entry(Spare, 12);
        m.Pages.Map(window, entry & ~0xFFFul);
        m.Memory.Write(Data + 0x2000, 70ul);
        (m.State.Gpr[8], m.State.Gpr[9]) = (window + (entry & 0xFFF), (m.Pages[Spare] & 0xFFF) | (Data + 0x2000));
        m.RunToEnd();
        Assert.Equal(1000ul, m.Memory.Read<ulong>(Data));
        Assert.Equal(71ul, m.Memory.Read<ulong>(Data + 0x2000));
        Assert.Equal(2002ul, m.Memory.Read<ulong>(Data + 0x1000));
    }

    /// <summary>Counts at two addresses that compete; R8 = a page-table entry to be set to R9 before the last round.</summary>
    private static void SetUpCompetition(SnippetMachine m, string change = "")
    {
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + Alias, Data + 0x1000);
        (m.Rsi, m.Rdi, m.Rcx) = (Spare, Spare + Alias, 1000);
        m.Write(c =>
        {
            Iced.Intel.Label again = c.CreateLabel();
            c.Label(ref again);
            c.inc(__qword_ptr[rsi]);
            c.add(__qword_ptr[rdi], 2);
            c.dec(rcx);
            c.jnz(again);
            if (change.Length != 0)
            {
                c.mov(__[r8], r9);
            }

            if (change == "invlpg")
            {
                c.invlpg(__[rsi]);
            }
            else if (change == "cr3")
            {
                c.mov(rax, cr3);
                c.mov(cr3, rax);
            }

            c.inc(__qword_ptr[rsi]);
            c.add(__qword_ptr[rdi], 2);
            c.hlt();
        });
    }

    [Theory]
    [InlineData(1, 4096 + 77, 60, 9000)]
    [InlineData(8, 8, 4088, 1500)]
    [InlineData(4, 6, 2, 2500)]
    public void RepeatedMovesCrossPages(int size, int from, int to, int count)
    {
        using SnippetMachine m = Long();
        byte[] source = [.. Enumerable.Range(0, size * count).Select(i => (byte)(i * 7 + (i >> 8)))];
        m.Memory.Write(Data + (ulong)from, source);
        for (int round = 0; round < 2; round++)
        {
            m.Fill(Target, (size * count) + 8192, 0xEE);
            (m.Rsi, m.Rdi, m.Rcx, m.Rdx) = (Data + (ulong)from, Target + (ulong)to, (ulong)count, 0x55AA);
            m.Restart(Code);
            m.Write(c =>
            {
                c.stc();
                switch (size)
                {
                    case 1:
                        c.rep.movsb();
                        break;
                    case 4:
                        c.rep.movsd();
                        break;
                    default:
                        c.rep.movsq();
                        break;
                }

                c.setc(al);
                c.hlt();
            });
            m.RunToEnd();
            byte[] moved = new byte[source.Length + 2];
            m.Memory.Read(Target + (ulong)to - 1, moved);
            Assert.Equal([0xEE, .. source, 0xEE], moved);
            Assert.Equal((Data + (ulong)(from + source.Length), Target + (ulong)(to + source.Length), 0ul, 0x55AAul), (m.Rsi, m.Rdi, m.Rcx, m.Rdx));
            Assert.Equal(1ul, m.Rax & 1);
        }
    }

    private const ulong Target = Data + 0x2_0000;

    [Fact]
    public void ARepeatedStoreStopsExactlyWhereItFaults()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x1000);
        m.Pages.Map(Spare + 0x2000, Data, 0);
        m.Fill(Data, 0x2000, 0);
        (m.Rax, m.Rdi, m.Rcx) = (0x77, Spare + 0x10, 0x3000);
        m.Write(c =>
        {
            c.rep.stosb();
            c.hlt();
        });
        m.RunToFault(14);
        Assert.Equal((Spare + 0x2000, 0x1010ul), (m.Rdi, m.Rcx));
        Assert.Equal(0x77, m.Memory.Read<byte>(Data + 0x1FFF));
        Assert.Equal(m.Rdi, m.State.Cr2);
    }

    [Theory]
    [InlineData("")]
    [InlineData("no-bounced-reads")]
    public void AReadAcrossPagesIsOneInstruction(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x3000);
        m.Memory.Write(Data + 0xFFC, 0x1111_1111u);
        m.Memory.Write(Data + 0x3000, 0x2222_2222u);
        m.Rsi = Spare;
        m.Write(c =>
        {
            c.stc();
            c.mov(rax, __[rsi + 0xFFC]);
            c.movdqu(xmm0, __[rsi + 0xFF4]);
            c.movq(rbx, xmm0);
            c.adc(rdx, __[rsi + 0xFFD]);
            c.hlt();
        });
        m.Rdx = 0;
        m.RunToEnd();
        Assert.Equal(0x2222_2222_1111_1111ul, m.Rax);
        Assert.Equal(m.Memory.Read<ulong>(Data + 0xFF4), m.Rbx);
        Assert.Equal(0x0022_2222_2211_1111ul + 1, m.Rdx & 0x00FF_FFFF_FFFF_FFFF);
    }

    [Fact]
    public void AReadAcrossPagesFaultsAtTheSecond()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data, 0);
        (m.Rsi, m.Rax) = (Spare, 1);
        m.Write(c =>
        {
            c.nop();
            c.mov(rax, __[rsi + 0xFFC]);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((Code + 1, Spare + 0x1000, 1ul), (stop.Rip, m.State.Cr2, m.Rax));
    }
}
