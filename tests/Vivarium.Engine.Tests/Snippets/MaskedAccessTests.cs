using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Memory operands of instructions with an opmask where they are not plain memory in one page (SDM vol. 1, 15.6.4; vol. 2A, 2.8).</summary>
public sealed class MaskedAccessTests
{
    private const ulong First = Data;
    private const ulong Second = Data + 0x3000;
    private const ulong Apart = Data + 0x5000;
    private const ulong Result = Data + 0x7000;
    private const ulong PageEnd = Spare + 0x1000;

    /// <summary>A linear page, and if wanted one after it, whose frames are apart.</summary>
    private static SnippetMachine WithAvx512(bool second, ulong mask)
    {
        SnippetMachine m = Long();
        Assert.SkipUnless(m.Has(CpuFeature.Avx512F) && m.Has(CpuFeature.Avx512Bw) && m.Has(CpuFeature.Avx512Dq) && m.Has(CpuFeature.Avx512Vl),
            "The host has no AVX-512.");
        m.State.Cr4 |= Cr4Bits.OsXsave;
        m.State.Xcr0 = 0xE7; // x87, SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM
        m.Pages.Map(Spare, First);
        if (second)
        {
            m.Pages.Map(PageEnd, Second);
        }

        for (ulong at = 0; at < 64; at++)
        {
            m.Memory.Write(Apart + at, (byte)(at + 1));
            m.Memory.Write(Result + at, (byte)(0x80 + at));
            m.Memory.Write(Result + 64 + at, (byte)(0x80 + at));
        }

        m.Rcx = mask;
        return m;
    }

    private static void Emit(Assembler c, string form, AssemblerRegister64 at)
    {
        switch (form)
        {
            case "add":
                c.vpaddd(zmm1.k1, zmm2, __zmmword_ptr[at]);
                break;
            case "unpack":
                c.vpunpckldq(zmm1.k1, zmm2, __zmmword_ptr[at]);
                break;
            case "permute":
                c.vpermd(zmm1.k1, zmm2, __zmmword_ptr[at]);
                break;
            case "multiply":
                c.vpmuludq(zmm1.k1, zmm2, __zmmword_ptr[at]);
                break;
            case "shift":
                c.vpsrld(zmm1.k1, zmm2, __xmmword_ptr[at]);
                break;
            case "shift by constant":
                c.vpsrld(zmm1.k1, __zmmword_ptr[at], 3);
                break;
            case "broadcast":
                c.vpbroadcastd(zmm1.k1, __dword_ptr[at]);
                break;
            case "broadcast four":
                c.vbroadcasti32x4(zmm1.k1, __xmmword_ptr[at]);
                break;
            case "add broadcast":
                c.vpaddd(zmm1.k1, zmm2, __dword_bcst[at]);
                break;
            case "convert broadcast":
                c.vcvtps2pd(zmm1.k1, __dword_bcst[at]);
                break;
            case "expand":
                c.vpexpandd(zmm1.k1, __zmmword_ptr[at]);
                break;
            case "store":
                c.vmovdqu32(__zmmword_ptr[at].k1, zmm2);
                break;
            case "compress":
                c.vpcompressd(__zmmword_ptr[at].k1, zmm2);
                break;
            default:
                c.vextracti32x4(__xmmword_ptr[at].k1, zmm2, 1);
                break;
        }
    }

    /// <summary>Across two pages an instruction does what it does within one.</summary>
    [Theory]
    [InlineData("add", 0x000Au)]
    [InlineData("unpack", 0x000Au)]
    [InlineData("permute", 0x8421u)]
    [InlineData("multiply", 0x0042u)]
    [InlineData("shift", 0xFFF0u)]
    [InlineData("shift by constant", 0xFFF0u)]
    [InlineData("broadcast", 0x1002u)]
    [InlineData("broadcast four", 0x8420u)]
    [InlineData("add broadcast", 0x8000u)]
    [InlineData("convert broadcast", 0x0080u)]
    [InlineData("expand", 0x8421u)]
    [InlineData("store", 0x8421u)]
    [InlineData("compress", 0x8421u)]
    [InlineData("extract", 0x000Au)]
    public void ItIsTheSameAcrossPages(string form, uint mask)
    {
        using SnippetMachine m = WithAvx512(second: true, mask);
        const ulong before = 2;
        m.Rax = Apart;
        m.Rbx = PageEnd - before;
        m.Rdx = Result;
        m.Write(c =>
        {
            c.kmovq(k1, rcx);
            c.vmovdqu64(zmm0, __zmmword_ptr[rax]);
            c.vmovdqu64(__zmmword_ptr[rbx], zmm0);
            c.vmovdqu64(zmm2, __zmmword_ptr[rdx]);
            foreach (bool across in new[] { false, true })
            {
                c.vmovdqu64(zmm1, __zmmword_ptr[rdx]);
                Emit(c, form, across ? rbx : rax);
                c.vmovdqu64(__zmmword_ptr[rdx + (across ? 64 : 0)], zmm1);
            }

            c.vmovdqu64(zmm0, __zmmword_ptr[rbx]);
            c.vmovdqu64(__zmmword_ptr[rdx + 128], zmm0);
            c.hlt();
        });
        m.RunToEnd();
        for (ulong at = 0; at < 64; at += 4)
        {
            Assert.Equal(m.Memory.Read<uint>(Result + at), m.Memory.Read<uint>(Result + 64 + at));
            Assert.Equal(m.Memory.Read<uint>(Apart + at), m.Memory.Read<uint>(Result + 128 + at));
        }
    }

    /// <summary>Form, mask, bytes before a page that is not there; whether the instruction faults.</summary>
    [Theory]
    [InlineData("add", 0x000Fu, 16, false)]
    [InlineData("add", 0x0010u, 16, true)]
    [InlineData("unpack", 0x0001u, 16, true)]
    [InlineData("permute", 0x0000u, 16, true)]
    [InlineData("multiply", 0x0003u, 16, false)]
    [InlineData("multiply", 0x0004u, 16, true)]
    [InlineData("shift", 0x0000u, 8, true)]
    [InlineData("shift by constant", 0x0003u, 8, false)]
    [InlineData("broadcast", 0x8000u, 0, true)]
    [InlineData("broadcast", 0xFFFF_0000u, 0, false)]
    [InlineData("broadcast four", 0x7777u, 12, false)]
    [InlineData("broadcast four", 0x0800u, 12, true)]
    [InlineData("add broadcast", 0x0002u, 0, true)]
    [InlineData("add broadcast", 0x1_0000u, 0, false)]
    [InlineData("convert broadcast", 0x0080u, 0, true)]
    [InlineData("convert broadcast", 0x0100u, 0, false)]
    [InlineData("expand", 0x8000u, 4, false)]
    [InlineData("store", 0x0001u, 4, false)]
    [InlineData("compress", 0x8000u, 4, false)]
    [InlineData("compress", 0x8001u, 4, true)]
    [InlineData("extract", 0x0001u, 4, true)]
    public void WhatTheMaskLeavesOutFaultsWhereThatMatters(string form, uint mask, int before, bool faults)
    {
        using SnippetMachine m = WithAvx512(second: false, mask);
        m.Rbx = PageEnd - (ulong)before;
        ulong access = m.Write(c => c.kmovq(k1, rcx));
        m.Write(access, c =>
        {
            Emit(c, form, rbx);
            c.hlt();
        });
        if (faults)
        {
            Assert.Equal(access, m.RunToFault(14).Rip);
            Assert.Equal(PageEnd, m.State.Cr2);
        }
        else
        {
            m.RunToEnd();
        }
    }
}
