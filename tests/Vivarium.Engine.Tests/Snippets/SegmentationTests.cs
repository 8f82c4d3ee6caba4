using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Segments with bases, limits and types as translated 16-bit, 32-bit and 64-bit code meets them (SDM vol. 3A, chapters 3, 5 and 20).</summary>
public sealed class SegmentationTests
{
    [Fact]
    public void RealModeAddressesAreSegmentTimes16PlusOffset()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x3_0010ul, (ushort)0x1234);
        m.Write(c =>
        {
            c.mov(ax, 0x3000);
            c.mov(ds, ax);
            c.mov(bx, 8);
            c.mov(si, 8);
            c.mov(ax, __word_ptr[bx + si]);
            c.mov(__word_ptr[bx + si + 2], ax);
            c.mov(es, ax);
            c.mov(__byte_ptr.es[bx], 0x77);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1234u, m.Rax);
        Assert.Equal(0x1234, m.Memory.Read<ushort>(0x3_0012));
        Assert.Equal(0x77, m.Memory.Read<byte>(0x1_2348));
    }

    [Fact]
    public void SixteenBitAddressesWrapAt64K()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x3_0004ul, (byte)0x42);
        m.Write(c =>
        {
            c.mov(ax, 0x3000);
            c.mov(ds, ax);
            c.mov(bx, 0xFFFE);
            c.mov(al, __byte_ptr[bx + 6]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x42, (byte)m.Rax);
    }

    [Theory]
    [InlineData("load", 13)]
    [InlineData("store", 13)]
    [InlineData("stack", 12)]
    [InlineData("wide", 13)]
    public void AWordAtTheEndOf64KFaults(string form, int vector)
    {
        using SnippetMachine m = Real();
        m.Rbx = form == "wide" ? 0x1_0000ul : 0xFFFF;
        m.Rbp = 0xFFFF;
        m.Rax = 0x55;
        m.Write(c =>
        {
            switch (form)
            {
                case "load":
                    c.mov(ax, __word_ptr[bx]);
                    break;
                case "store":
                    c.mov(__word_ptr[bx], ax);
                    break;
                case "stack":
                    c.mov(ax, __word_ptr[bp]);
                    break;
                default:
                    c.mov(al, __byte_ptr[ebx]);
                    break;
            }
        });
        Stop stop = m.RunToFault(vector);
        Assert.Equal(RealCode, stop.Rip);
        Assert.Equal(Stack, stop.Rsp);
        Assert.Equal(0x55u, m.Rax);
    }

    [Fact]
    public void TheStackPointerWrapsAt64K()
    {
        using SnippetMachine m = Real();
        m.State.Segments[2].Base = 0x3_0000;
        m.State.Segments[2].Selector = 0x3000;
        m.Rsp = 0xABCD_0000;
        m.Rax = 0x1234;
        m.Write(c =>
        {
            c.push(ax);
            c.push(ax);
            c.pop(dx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0xABCD_FFFEu, m.Rsp);
        Assert.Equal(0x1234, m.Memory.Read<ushort>(0x3_FFFE));
        Assert.Equal(0x1234u, m.Rdx);
    }

    [Fact]
    public void RunningOffTheEndOfTheSegmentFaults()
    {
        using SnippetMachine m = Real();
        m.WriteBytes(0xFFFE, 0x90, 0x90);
        m.State.Rip = 0xFFFE;
        Assert.Equal(13, m.Run().Vector);
    }

    [Fact]
    public void UnrealModeReachesAllMemory()
    {
        using SnippetMachine m = Real();
        m.State.GdtrBase = Gdt;
        m.State.GdtrLimit = 0xFF;
        m.Memory.Write(0x90_0000ul, 0xCAFE_BABEu);
        m.Rbx = 0x90_0000;
        m.Write(c =>
        {
            c.mov(eax, cr0);
            c.or(al, 1);
            c.mov(cr0, eax);
            c.mov(cx, Data32);
            c.mov(ds, cx);
            c.and(al, 0xFE);
            c.mov(cr0, eax);
            c.xor(cx, cx);
            c.mov(ds, cx);
            c.mov(eax, __dword_ptr[ebx]);
            c.mov(__dword_ptr[ebx + 4], eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0xCAFE_BABEu, m.Rax);
        Assert.Equal(0xCAFE_BABEu, m.Memory.Read<uint>(0x90_0004));
    }

    /// <summary>Segment type, base and limit, offset and size, whether writing; the expected fault or 0.</summary>
    [Theory]
    [InlineData(3u, 0xFFFu, 0xFFCu, false, 0)]
    [InlineData(3u, 0xFFFu, 0xFFDu, false, 13)]
    [InlineData(3u, 0xFFFu, 0xFFCu, true, 0)]
    [InlineData(3u, 0xFFFu, 0xFFFF_FFFEu, true, 13)]
    [InlineData(1u, 0xFFFu, 0x10u, false, 0)]
    [InlineData(1u, 0xFFFu, 0x10u, true, 13)]
    [InlineData(7u, 0xFFFu, 0x1000u, true, 0)]          // expand-down
    [InlineData(7u, 0xFFFu, 0xFFFu, true, 13)]
    [InlineData(7u, 0xFFFu, 0xFFFF_FFFDu, true, 13)]
    [InlineData(5u, 0xFFFu, 0x1000u, true, 13)]
    [InlineData(5u, 0xFFFu, 0x1000u, false, 0)]
    [InlineData(11u, 0xFFFu, 0x10u, false, 0)]          // readable code
    [InlineData(11u, 0xFFFu, 0x10u, true, 13)]
    public void DataSegmentsAreCheckedByTypeAndLimit(uint type, uint limit, uint offset, bool write, int vector)
    {
        using SnippetMachine m = Protected();
        m.SetDescriptor(Free, Descriptor((uint)Data, limit, type));
        m.Memory.Write(Data + 0xFFC, 0x1111_1111u);
        m.Rbx = offset;
        m.Rax = Free;
        ulong access = m.Write(c =>
        {
            c.mov(es, eax);
            c.nop();
        });
        m.Write(access, c =>
        {
            if (write)
            {
                c.mov(__dword_ptr.es[ebx], eax);
            }
            else
            {
                c.mov(ecx, __dword_ptr.es[ebx]);
            }

            c.hlt();
        });
        if (vector == 0)
        {
            m.RunToEnd();
            if (write)
            {
                Assert.Equal((uint)Free, m.Memory.Read<uint>(Data + offset));
            }

            return;
        }

        Stop stop = m.RunToFault(vector);
        Assert.Equal(access, stop.Rip);
        Assert.Equal(0u, stop.ErrorCode);
    }

    /// <summary>Masked vector instructions whose operand reaches beyond the limit: only elements that the mask selects count (SDM vol. 2C, VPMASKMOV).</summary>
    [Theory]
    [InlineData(false, 0x0Fu, 0)]
    [InlineData(true, 0x0Fu, 0)]
    [InlineData(false, 0x10u, 13)]
    [InlineData(true, 0x18u, 13)]
    [InlineData(false, 0u, 0)]
    [InlineData(true, 0u, 0)]
    public void MaskedElementsBeyondALimitAreNotAccessed(bool write, uint mask, int vector)
    {
        using SnippetMachine m = Protected();
        Assert.SkipUnless(m.Has(CpuFeature.Avx2), "The host has no AVX2.");
        m.State.Cr4 |= Cr4Bits.OsFxsr | Cr4Bits.OsXsave;
        m.State.Xcr0 = 7;
        m.SetDescriptor(Free, Descriptor((uint)Data, 0xFFF, 3));
        for (uint i = 0; i < 8; i++)
        {
            m.Memory.Write(Data + 0x100 + (i * 4), (mask >> (int)i & 1) << 31);
            m.Memory.Write(Data + 0xFF0 + (i * 4), 0x100 + i);
        }

        m.Rbx = 0xFF0;
        m.Rax = Free;
        ulong access = m.Write(c =>
        {
            c.mov(es, eax);
            c.vmovdqu(ymm1, __ymmword_ptr[(int)Data + 0x100]);
        });
        m.Write(access, c =>
        {
            if (write)
            {
                c.vpmaskmovd(__ymmword_ptr.es[ebx], ymm1, ymm1);
            }
            else
            {
                c.vpmaskmovd(ymm0, ymm1, __ymmword_ptr.es[ebx]);
                c.vmovdqu(__ymmword_ptr[(int)Data + 0x200], ymm0);
            }

            c.hlt();
        });
        if (vector != 0)
        {
            Assert.Equal(access, m.RunToFault(vector).Rip);
            return;
        }

        m.RunToEnd();
        for (uint i = 0; i < 8; i++)
        {
            bool selected = (mask >> (int)i & 1) != 0;
            uint expected = write ? (selected ? 1u << 31 : 0x100 + i) : (selected ? 0x100 + i : 0);
            Assert.Equal(expected, m.Memory.Read<uint>(Data + (write ? 0xFF0u : 0x200u) + (i * 4)));
        }
    }

    [Fact]
    public void AStackSegmentsLimitRaisesStackFaults()
    {
        using SnippetMachine m = Protected();
        m.SetDescriptor(Free, Descriptor((uint)Data, 0xFFF, 3));
        m.SetDescriptor(0x68, 0x0000_8900_0000_0067 | (0x3100ul << 16));
        m.Load(2, Free);
        m.Rsp = 0x1000;
        m.Rbp = 0xFFE;
        m.Write(c =>
        {
            c.push(eax);
            c.pop(eax);
            c.mov(eax, __dword_ptr[ebp]);
        });
        Stop stop = m.RunToFault(12);
        Assert.Equal((0u, Code + 2, 0x1000ul), (stop.ErrorCode, stop.Rip, stop.Rsp));
    }

    [Fact]
    public void ANullSegmentFaultsWhenItIsUsed()
    {
        using SnippetMachine m = Protected();
        ulong use = m.Write(c =>
        {
            c.xor(eax, eax);
            c.mov(es, eax);
            c.mov(gs, eax);
        });
        m.Write(use, c => c.mov(ecx, __dword_ptr.gs[ebx]));
        Assert.Equal(use, m.RunToFault(13).Rip);
    }

    [Fact]
    public void BasesWrapAt4G()
    {
        using SnippetMachine m = Protected();
        m.SetDescriptor(Free, Descriptor(0xFFFF_0000, uint.MaxValue, 3));
        m.Load(3, Free);
        m.Memory.Write(Data, 0x99u);
        m.Rbx = Data + 0x1_0000;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[ebx]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x99u, m.Rax);
    }

    [Fact]
    public void CodeWithABaseJumpsCallsAndReturns()
    {
        using SnippetMachine m = Protected();
        m.SetDescriptor(Free, Descriptor((uint)Code, 0xFFFF, 11));
        m.Load(1, Free);
        m.State.Rip = 0x10;
        m.Write(0x10, c =>
        {
            var over = c.CreateLabel();
            c.call(0x80);
            c.jmp(over);
            c.ud2();
            c.Label(ref over);
            c.mov(ecx, 0x80);
            c.call(ecx);
            c.mov(edx, __dword_ptr.cs[0x80]);
            c.hlt();
        }, physical: Code + 0x10);
        m.Write(0x80, c =>
        {
            c.add(eax, __dword_ptr[esp]);
            c.ret();
        }, physical: Code + 0x80);
        m.RunToEnd();
        Assert.Equal(0x15u + 0x23, m.Rax);
        Assert.Equal(0xC324_0403u, m.Rdx);
    }

    [Fact]
    public void ANewCodeLimitHoldsForCodeThatHasRunBefore()
    {
        const ushort wide = Free;
        const ushort narrow = Free + 8;
        const ulong inside = Code + 0x100;
        const ulong outside = Code + 0x180;
        using SnippetMachine m = Protected();
        m.SetDescriptor(wide, Descriptor(0, (uint)Code + 0xFFF, 11));
        m.SetDescriptor(narrow, Descriptor(0, (uint)outside - 1, 11));
        m.Write(inside, c => c.jmp(outside));
        m.Write(outside, c => c.ret());
        ulong second = Code + 0x40;
        m.Write(second, c =>
        {
            c.call(inside);
            c.hlt();
        });
        ulong first = Code + 0x20;
        m.Write(first, c =>
        {
            c.call(inside);
            c.db([0xEA, .. BitConverter.GetBytes((uint)second), .. BitConverter.GetBytes(narrow)]);
        });
        m.WriteBytes(Code, [0xEA, .. BitConverter.GetBytes((uint)first), .. BitConverter.GetBytes(wide)]);
        Assert.Equal(inside, m.RunToFault(13).Rip);
    }

    /// <summary>The jump itself faults, and has done nothing; so it does when it runs alone (an armed breakpoint sees to that).</summary>
    [Theory]
    [InlineData("EB7E", 0)]         // jmp
    [InlineData("7E7E", 0)]         // jle
    [InlineData("E27E", 0)]         // loop
    [InlineData("67E27E", 0)]       // loop by CX
    [InlineData("E37E", 0)]         // jecxz
    [InlineData("E87E000000", 0)]   // call
    [InlineData("FFE0", 0)]         // jmp eax
    [InlineData("FF23", 0)]         // jmp [ebx]
    [InlineData("FFD0", 0)]         // call eax
    [InlineData("FF13", 0)]         // call [ebx]
    [InlineData("C3", 0)]           // ret
    [InlineData("C20800", 0)]       // ret 8
    [InlineData("C3", 0x401)]
    [InlineData("E27E", 0x401)]
    [InlineData("E87E000000", 0x401)]
    [InlineData("FFD0", 0x401)]
    public void AJumpBeyondTheCodeLimitFaultsItself(string code, ulong dr7)
    {
        using SnippetMachine m = Protected();
        m.SetDescriptor(Free, Descriptor(0, (uint)Code + 0x7F, 11));
        m.Load(1, Free);
        m.State.Dr[7] = dr7;
        m.State.Rflags = 2 | 0x8D5;
        m.Rcx = code.EndsWith("E37E", StringComparison.Ordinal) ? 0 : 0x1_0002ul;
        m.Rax = Code + 0x80;
        m.Rbx = Data;
        m.Memory.Write(Data, (uint)m.Rax);
        m.Memory.Write(Stack - 8, (uint)m.Rax);
        m.Rsp = Stack - 8;
        ulong counter = m.Rcx;
        m.WriteBytes(Code, [0x90, .. Convert.FromHexString(code)]);
        m.WriteBytes(Code + 0x80, 0xF4);
        Stop stop = m.RunToFault(13);
        Assert.Equal((Code + 1, 0u, Stack - 8), (stop.Rip, stop.ErrorCode, stop.Rsp));
        Assert.Equal(0x8D7u, stop.Rflags & 0xFFFF);
        Assert.Equal(counter, m.Rcx);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    public void FsAndGsHaveBasesIn32BitCode(int bits)
    {
        using SnippetMachine m = Protected(bits: bits);
        m.SetDescriptor(Free, Descriptor((uint)Data, 0xFFFF, 3));
        m.SetDescriptor(Free + 8, Descriptor((uint)Data + 0x100, 0xFFFF, 3));
        m.Load(4, Free);
        m.Load(5, Free + 8);
        m.Rbx = 8;
        m.Rax = 0x1234_5678;
        m.Write(c =>
        {
            c.mov(__dword_ptr.fs[ebx], eax);
            c.mov(__dword_ptr.gs[bx + 8], eax);
            c.add(__dword_ptr.gs[ebx + 8], 1);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1234_5678u, m.Memory.Read<uint>(Data + 8));
        Assert.Equal(0x1234_5679u, m.Memory.Read<uint>(Data + 0x110));
    }

    [Fact]
    public void OnlyFsAndGsHaveBasesIn64BitCode()
    {
        using SnippetMachine m = Long();
        m.State.Segments[3].Base = 0x1000;
        m.State.Segments[4].Base = Data;
        m.State.Segments[5].Base = unchecked(Data + 0x100 - 0x1_0000_0000);
        m.Rbx = 8;
        m.Rcx = 0xFFFF_FFFF_0000_0008;
        m.Rdx = 0x1_0000_0000;
        m.Rax = 7;
        m.Rsi = Data;
        m.Write(c =>
        {
            c.mov(__dword_ptr.fs[rbx], eax);
            c.mov(__dword_ptr.fs[ecx + 8], eax);        // address size 32: cut before the base is added
            c.mov(__dword_ptr.gs[rdx + 4], eax);
            c.mov(__dword_ptr[rsi + 0x20], eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(7u, m.Memory.Read<uint>(Data + 8));
        Assert.Equal(7u, m.Memory.Read<uint>(Data + 16));
        Assert.Equal(7u, m.Memory.Read<uint>(Data + 0x104));
        Assert.Equal(7u, m.Memory.Read<uint>(Data + 0x20));
    }

    [Fact]
    public void A32BitDisplacementIn64BitCode()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(0x8000_0000, Data);
        m.Pages.Map(0xFFFF_FFFF_8000_0000, Data + 0x1000);
        m.Memory.Write(Data, 1u);
        m.Memory.Write(Data + 0x1000, 2u);
        // mov eax, [80000000h] with address size 32, then with 64
        m.WriteBytes(Code, 0x67, 0x8B, 0x04, 0x25, 0, 0, 0, 0x80, 0x8B, 0x0C, 0x25, 0, 0, 0, 0x80, 0x67, 0x8B, 0x15, 0xE0, 0xFF, 0, 0, 0xF4);
        m.Memory.Write(Code + 0x16 + 0xFFE0, 3u);
        m.RunToEnd();
        Assert.Equal((1u, 2u, 3u), ((uint)m.Rax, (uint)m.Rcx, (uint)m.Rdx));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(64)]
    public void CountBranchesUseTheirSizeOfTheCounter(int bits)
    {
        using SnippetMachine m = bits == 64 ? Long() : Protected(bits: bits);
        // With the address size prefix 16-bit code counts in ECX, 32-bit code in CX, 64-bit code in ECX; then each in its own.
        m.Rcx = bits == 64 ? 0x1_0000_0002ul : 0x1_0002;
        m.WriteBytes(Code,
            0xFF, 0xC0,             // inc eax
            0x67, 0xE2, 0xFB,       // loop
            0x67, 0xE3, 0x01,       // jump if the count is zero
            0xF4,
            0xFF, 0xC2,             // inc edx
            0xB9, 0x03, 0, 0, 0,    // mov ecx, 3; in 16-bit code mov cx, 3; add [bx+si], al
            0xFF, 0xC3,             // inc ebx
            0xE2, 0xFC,             // loop
            0xE3, 0x01,             // jump if the count is zero
            0xF4,
            0xFF, 0xC2, 0xF4);
        m.Rsi = 0;
        m.RunToEnd();
        Assert.Equal(2u, m.Rax);
        Assert.Equal(2u, m.Rdx);
        Assert.Equal(3u, m.Rbx);
        Assert.Equal(0u, m.Rcx);
    }

    [Fact]
    public void LoopeAndLoopneLookAtTheZeroFlag()
    {
        using SnippetMachine m = Long();
        m.Rsi = Data;
        m.Memory.Write(Data, 0x0005_0000u);
        m.Write(c =>
        {
            var equal = c.CreateLabel();
            var unequal = c.CreateLabel();
            c.mov(ecx, 10);
            c.lea(rdi, __[rsi - 1]);
            c.Label(ref equal);
            c.inc(rdi);
            c.cmp(__byte_ptr[rdi], 0);
            c.loope(equal);
            c.mov(edx, ecx);
            c.mov(ecx, 10);
            c.Label(ref unequal);
            c.inc(rdi);
            c.cmp(__byte_ptr[rdi], 0);
            c.loopne(unequal);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Data + 3, m.Rdi);
        Assert.Equal(7u, m.Rdx);
        Assert.Equal(9u, m.Rcx);
    }

    [Fact]
    public void OperandAndAddressSizePrefixesSwitch()
    {
        using SnippetMachine m = Protected(bits: 16);
        m.Rbx = Data;
        m.Rax = 0xAAAA_5555;
        m.Write(c =>
        {
            c.mov(__dword_ptr[ebx], eax);
            c.mov(__word_ptr[ebx + 4], ax);
            c.add(ax, 1);
            c.add(ecx, -1);
            c.push(eax);
            c.pop(edx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0xAAAA_5555u, m.Memory.Read<uint>(Data));
        Assert.Equal(0x5555u, m.Memory.Read<uint>(Data + 4));
        Assert.Equal(0xAAAA_5556u, m.Rdx);
        Assert.Equal(uint.MaxValue, m.Rcx);
    }
}
