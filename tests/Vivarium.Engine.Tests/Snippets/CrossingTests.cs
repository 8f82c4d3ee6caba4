using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Accesses that are not plain: over a page's end, into nothing, into MMIO; and string instructions that fault midway.</summary>
public sealed class CrossingTests
{
    private const ulong First = Data;
    private const ulong Second = Data + 0x3000;

    /// <summary>Two linear pages whose frames are apart, so that a wrong second half shows.</summary>
    private static SnippetMachine Split(bool second = true, ulong secondFlags = P | Rw | Us)
    {
        SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        if (second)
        {
            m.Pages.Map(Spare + 0x1000, Second, secondFlags);
        }

        m.Memory.Write(First + 0xFFC, 0x4433_2211u);
        m.Memory.Write(Second, 0x8877_6655u);
        m.Rbx = Spare + 0xFFE;
        return m;
    }

    [Fact]
    public void LoadsAndStoresOfEverySizeCross()
    {
        using SnippetMachine m = Split();
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rbx]);
            c.mov(rcx, __qword_ptr[rbx - 2]);
            c.movzx(edx, __word_ptr[rbx + 1]);
            c.movdqu(xmm0, __xmmword_ptr[rbx - 8]);
            c.movdqu(__xmmword_ptr[rbx - 6], xmm0);
            c.mov(__word_ptr[rbx + 1], 0x1DEF);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x6655_4433u, m.Rax);
        Assert.Equal(0x8877_6655_4433_2211u, m.Rcx);
        Assert.Equal(0x5544u, m.Rdx);
        Assert.Equal((UInt128)0x8877_6655_4433_2211ul << 48, m.Xmm(0) & ~(UInt128)0xFFFF_FFFF_FFFFul);
        Assert.Equal(0xEF, m.Memory.Read<byte>(First + 0xFFF));
        Assert.Equal(0x1D, m.Memory.Read<byte>(Second));
        Assert.Equal(0x8877_6655_4433u >> 8 & 0, m.Memory.Read<byte>(Second + 0x20) & 0u);
    }

    [Fact]
    public void ReadModifyWriteCrossesAndKeepsFlags()
    {
        using SnippetMachine m = Split();
        m.Rax = 0x9999_BBCDu;
        m.Rcx = 1;
        m.Write(c =>
        {
            c.add(__dword_ptr[rbx], eax);
            c.setc(dl);
            c.@lock.xadd(__dword_ptr[rbx], ecx);
            c.@lock.cmpxchg(__dword_ptr[rbx], ebp);
            c.hlt();
        });
        m.RunToEnd();
        uint sum = unchecked(0x6655_4433u + 0x9999_BBCDu);
        Assert.Equal(0x6655_4433u + 0x9999_BBCDul > uint.MaxValue ? 1u : 0, m.Rdx & 0xFF);
        Assert.Equal(sum, m.Rcx);
        Assert.Equal(sum + 1, m.Rax);
        Assert.Equal((ushort)(sum + 1), m.Memory.Read<ushort>(First + 0xFFE));
        Assert.Equal((ushort)((sum + 1) >> 16), m.Memory.Read<ushort>(Second));
    }

    public static TheoryData<string> WritingForms => ["store", "add", "lock", "push", "call", "sse", "xchg", "pop", "bts", "movs", "cmpxchg16b"];

    /// <summary>Nothing has changed when the second page is missing, and once it is there the instruction can be done again.</summary>
    [Theory]
    [MemberData(nameof(WritingForms))]
    public void AMissingSecondPageLeavesEverythingAsItWas(string form)
    {
        using SnippetMachine m = Split(second: false);
        m.Rax = 0x0102_0304;
        m.Rcx = 0x1111;
        m.Rdx = 0x2222;
        m.Rsi = Data + 0x8000;
        m.Rdi = Spare + 0xFFE;
        m.Rsp = form is "push" or "call" ? Spare + 0x1004 : form == "pop" ? Data + 0x9000 : Stack;
        m.State.Gpr[8] = 15;
        m.Memory.Write(Data + 0x9000, 0x5566_7788_99AA_BBCCul);
        m.Memory.Write(Data + 0x8000, 0xA1A2_A3A4u);
        m.Write(c =>
        {
            switch (form)
            {
                case "store":
                    c.mov(__dword_ptr[rbx], eax);
                    break;
                case "add":
                    c.adc(__dword_ptr[rbx], eax);
                    break;
                case "lock":
                    c.@lock.sub(__qword_ptr[rbx], rax);
                    break;
                case "push":
                    c.push(rax);
                    break;
                case "call":
                    c.call(Code + 0x100);
                    break;
                case "sse":
                    c.movups(__xmmword_ptr[rbx], xmm0);
                    break;
                case "xchg":
                    c.xchg(__qword_ptr[rbx], rax);
                    break;
                case "pop":
                    c.pop(__qword_ptr[rbx]);
                    break;
                case "bts":
                    c.bts(__dword_ptr[rbx], r8d);
                    break;
                case "movs":
                    c.movsd();
                    break;
                default:
                    c.mov(rbx, rdi);
                    c.sub(rbx, 6);
                    c.@lock.cmpxchg8b(__qword_ptr[rbx + 2]);
                    break;
            }

            c.hlt();
        });
        m.WriteBytes(Code + 0x100, 0xF4);
        m.State.Rflags = 2 | 0x8D5;
        m.State.Tr.Limit = 0x67;
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        Stop stop = m.RunToFault(14);
        ulong[] before = [.. m.State.Gpr];
        Assert.Equal(2u, stop.ErrorCode);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);
        if (form != "cmpxchg16b")
        {
            Assert.Equal(Code, stop.Rip);
            Assert.Equal(0x8D7u, stop.Rflags & 0xFFFF);
            Assert.Equal(0x0102_0304u, m.Rax);
        }

        Assert.Equal(0x4433, m.Memory.Read<ushort>(First + 0xFFE));
        Assert.Equal(form is "push" or "call" ? Spare + 0x1004 : form == "pop" ? Data + 0x9000 : Stack, stop.Rsp);

        m.Pages.Map(Spare + 0x1000, Second);
        m.State.Gpr.AsSpan().Clear();
        before.CopyTo(m.State.Gpr, 0);
        m.Restart(stop.Rip);
        m.Rsp = stop.Rsp;
        m.State.Rflags = stop.Rflags & ~(1ul << 16);
        m.RunToEnd();
        ulong low = m.Memory.Read<ushort>(First + 0xFFE) | ((ulong)m.Memory.Read<uint>(Second) << 16);
        switch (form)
        {
            case "store":
                Assert.Equal(0x0102_0304u, (uint)low);
                break;
            case "add":
                Assert.Equal(0x6655_4433u + 0x0102_0304u + 1, (uint)low);
                break;
            case "lock":
                Assert.Equal((0x8877_6655_4433u - 0x0102_0304ul) & 0xFFFF_FFFF_FFFF, low);
                break;
            case "push":
                Assert.Equal(0x0102_0304u, m.Memory.Read<uint>(First + 0xFFC));
                break;
            case "pop":
                Assert.Equal(0x7788_99AA_BBCCu, low);
                Assert.Equal(Data + 0x9008, m.Rsp);
                break;
            case "bts":
                Assert.Equal(0x6655_C433u, (uint)low);
                break;
            case "movs":
                Assert.Equal(0xA1A2_A3A4u, (uint)low);
                break;
        }
    }

    [Fact]
    public void ALoadOverAReadOnlySecondPageIsFineAndAStoreIsNot()
    {
        using SnippetMachine m = Split(secondFlags: P);
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rbx]);
            c.inc(__dword_ptr[rbx]);
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(3u, stop.ErrorCode);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);
        Assert.Equal(0x6655_4433u, m.Rax);
        Assert.Equal(0x4433, m.Memory.Read<ushort>(First + 0xFFE));
    }

    [Fact]
    public void MmioIsReadAndWrittenInItsSize()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        m.Rbx = Spare;
        m.Rdx = 0xFFEE_DDCC_BBAA_9988;
        m.Write(c =>
        {
            c.mov(al, __byte_ptr[rbx + 1]);
            c.mov(cx, __word_ptr[rbx + 2]);
            c.mov(esi, __dword_ptr[rbx + 4]);
            c.mov(rdi, __qword_ptr[rbx + 8]);
            c.movaps(xmm1, __xmmword_ptr[rbx + 0x10]);
            c.mov(__byte_ptr[rbx + 0x41], dl);
            c.mov(__word_ptr[rbx + 0x42], dx);
            c.mov(__dword_ptr[rbx + 0x44], edx);
            c.mov(__qword_ptr[rbx + 0x48], rdx);
            c.movaps(__xmmword_ptr[rbx + 0x50], xmm1);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal([(MmioGpa + 1, 1), (MmioGpa + 2, 2), (MmioGpa + 4, 4), (MmioGpa + 8, 8), (MmioGpa + 0x10, 8), (MmioGpa + 0x18, 8)], m.Bus.MmioReads);
        Assert.Equal(
            [
                (MmioGpa + 0x41, 1, 0x88ul), (MmioGpa + 0x42, 2, 0x9988ul), (MmioGpa + 0x44, 4, 0xBBAA_9988ul),
                (MmioGpa + 0x48, 8, 0xFFEE_DDCC_BBAA_9988ul), (MmioGpa + 0x50, 8, 0x1716_1514_1312_1110ul), (MmioGpa + 0x58, 8, 0x1F1E_1D1C_1B1A_1918ul),
            ],
            m.Bus.MmioWrites);
        Assert.Equal(1u, m.Rax & 0xFF);
        Assert.Equal(0x0302u, m.Rcx);
        Assert.Equal(0x0706_0504u, m.Rsi);
        Assert.Equal(0x0F0E_0D0C_0B0A_0908u, m.Rdi);
    }

    [Fact]
    public void MmioReadModifyWriteReadsOnceAndWritesOnce()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.@lock.or(__dword_ptr[rbx + 4], 0x80);
            c.test(__dword_ptr[rbx + 4], 0x80);
            c.setne(al);
            c.push(__qword_ptr[rbx + 8]);
            c.pop(__qword_ptr[rbx + 0x20]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal([(MmioGpa + 4, 4), (MmioGpa + 4, 4), (MmioGpa + 8, 8)], m.Bus.MmioReads);
        Assert.Equal([(MmioGpa + 4, 4, 0x0706_0584ul), (MmioGpa + 0x20, 8, 0x0F0E_0D0C_0B0A_0908ul)], m.Bus.MmioWrites);
        Assert.Equal(1u, m.Rax);
    }

    [Fact]
    public void AnInstructionRefusedAfterItsMmioOperandWasReadWritesNothing()
    {
        // MOVAPS with a misaligned operand in MMIO is a #GP; the next write goes to memory only. An armed breakpoint makes
        // the engine look at every access.
        using SnippetMachine m = Split();
        m.Pages.Map(Spare + 0x2000, MmioGpa);
        m.Rsi = Spare + 0x2008;
        ulong handler = m.Write(c => c.movaps(__xmmword_ptr[rsi], xmm0));
        m.Write(handler, c =>
        {
            c.mov(__dword_ptr[rbx - 0x100], 0x1234_5678);
            c.hlt();
        });
        m.SetGate(13, handler);
        m.State.Dr[7] = 0x401;
        m.RunToEnd();
        Assert.Empty(m.Bus.MmioWrites);
        Assert.Equal(0x1234_5678u, m.Memory.Read<uint>(First + 0xEFE));
    }

    [Fact]
    public void AnAccessFromMemoryIntoMmioIsSplit()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        m.Pages.Map(Spare + 0x1000, MmioGpa);
        m.Memory.Write(First + 0xFFE, (ushort)0x2211);
        m.Rbx = Spare + 0xFFE;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rbx]);
            c.mov(__dword_ptr[rbx], 0x7766_5544);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0100_2211u, m.Rax);
        Assert.Equal([(MmioGpa, 2, 0x7766ul)], m.Bus.MmioWrites);
        Assert.Equal(0x5544, m.Memory.Read<ushort>(First + 0xFFE));
    }

    [Fact]
    public void RepeatedMovesStopAtTheMissingPageAndGoOn()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        for (int i = 0; i < 0x2000; i += 4)
        {
            m.Memory.Write(Data + 0x8000 + (ulong)i, 0xA000_0000u + (uint)i);
        }

        m.Rsi = Data + 0x8000;
        m.Rdi = Spare + 0xF00;
        m.Rcx = 0x100;
        m.Write(c =>
        {
            c.rep.movsd();
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(Code, stop.Rip);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);
        Assert.Equal(2u, stop.ErrorCode);
        Assert.Equal(0x100u - 0x40, m.Rcx);
        Assert.Equal(Data + 0x8100, m.Rsi);
        Assert.Equal(Spare + 0x1000, m.Rdi);

        m.Pages.Map(Spare + 0x1000, Second);
        m.Restart(Code);
        m.Rsp = Stack;
        m.RunToEnd();
        Assert.Equal(0u, m.Rcx);
        Assert.Equal(0xA000_0100u, m.Memory.Read<uint>(Second));
        Assert.Equal(0xA000_03FCu, m.Memory.Read<uint>(Second + 0x2FC));
    }

    [Fact]
    public void RepeatedStoresDownwardsStopAtTheMissingPage()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare + 0x1000, Second);
        m.Rdi = Spare + 0x1008;
        m.Rcx = 8;
        m.Rax = 0xAB;
        m.State.Rflags |= 1 << 10;
        m.Write(c => c.rep.stosd());
        Stop stop = m.RunToFault(14);
        Assert.Equal(Spare + 0xFFC, m.State.Cr2);
        Assert.Equal(5u, m.Rcx);
        Assert.Equal(Spare + 0xFFC, m.Rdi);
        Assert.Equal(Code, stop.Rip);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void RepeatedComparesKeepTheirFlagsWhenTheyFault(bool compare)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        m.Fill(First, 0x1000, 0x5A);
        m.Fill(Data + 0x8000, 0x1000, 0x5A);
        m.Rsi = Data + 0x8000;
        m.Rdi = Spare + 0xFF0;
        m.Rcx = 0x40;
        m.Rax = 0x5A;
        m.State.Rflags = 2 | 0x891;
        m.Write(c =>
        {
            if (compare)
            {
                c.repe.cmpsb();
            }
            else
            {
                c.repe.scasb();
            }
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(0x893u, stop.Rflags & 0xFFFF);
        Assert.Equal(0x30u, m.Rcx);
        Assert.Equal(Spare + 0x1000, m.Rdi);
    }
}
