using System.Numerics;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Operand forms that ask most of the renaming of registers and the redirecting of memory.</summary>
public sealed class OperandTests
{
    [Fact]
    public void ThreeRegistersWithoutAPlaceOfTheirOwn()
    {
        using SnippetMachine m = Long();
        Assert.SkipUnless(m.Has(CpuFeature.Bmi2), "The host has no BMI2.");
        m.State.Cr4 |= Cr4Bits.OsXsave;
        m.State.Xcr0 = 7;
        m.State.Gpr[13] = 0xFF00_FF00;
        m.State.Gpr[14] = 0x1234_5678;
        m.Rbx = 0xB;
        m.Rsi = 0x51;
        m.Rdi = 0xD1;
        m.Rbp = 0xB9;
        m.Write(c =>
        {
            c.andn(r12, r13, r14);
            c.pext(r15, r14, r13);
            c.mov(__qword_ptr[rsp - 8], r15);
            c.mulx(r13, r14, r15);
            c.shlx(r15, __qword_ptr[rsp - 8], r12);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1234_5678ul & ~0xFF00_FF00ul, m.State.Gpr[12]);
        Assert.Equal(0x1256ul << (int)(m.State.Gpr[12] & 63), m.State.Gpr[15]);
        Assert.Equal(0ul, m.State.Gpr[13]);
        Assert.Equal((0xBul, 0x51ul, 0xD1ul, 0xB9ul), (m.Rbx, m.Rsi, m.Rdi, m.Rbp));
    }

    [Fact]
    public void ImplicitRegistersBesideUpperOnes()
    {
        using SnippetMachine m = Long();
        m.State.Gpr[12] = Data;
        m.State.Gpr[13] = 1;
        m.State.Gpr[14] = 0x77;
        m.Memory.Write(Data, 10ul);
        m.Memory.Write(Data + 8, 3ul);
        m.Rax = 10;
        m.Write(c =>
        {
            c.@lock.cmpxchg(__qword_ptr[r12], r14);
            c.sete(r15b);
            c.mul(__qword_ptr[r12 + r13 * 8]);
            c.div(r14);
            c.shld(__qword_ptr[r12 + 8], r14, 8);
            c.xchg(__qword_ptr[r12 + 8], rax);
            c.mov(rcx, r13);
            c.shl(r14, cl);
            c.crc32(r13, __qword_ptr[r12]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.State.Gpr[15] & 0xFF);
        Assert.Equal(0x77u, m.Memory.Read<ulong>(Data));
        Assert.Equal(30u, m.Rdx);
        Assert.Equal(0x300u, m.Rax);
        Assert.Equal(0u, m.Memory.Read<ulong>(Data + 8));
        Assert.Equal(0xEEu, m.State.Gpr[14]);
        Assert.Equal(BitOperations.Crc32C(1u, 0x77ul), m.State.Gpr[13]);
    }

    [Fact]
    public void AbsoluteAddressesOf64Bits()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(0x1234_5678_9000, Data);
        m.Memory.Write(Data + 8, 0x1122_3344_5566_7788ul);
        byte[] address = BitConverter.GetBytes(0x1234_5678_9008ul);
        byte[] target = BitConverter.GetBytes(0x1234_5678_9010ul);
        m.WriteBytes(Code, [0x48, 0xA1, .. address, 0xA3, .. target, 0xF4]);    // mov rax, [..]; mov [..], eax; hlt
        m.RunToEnd();
        Assert.Equal(0x1122_3344_5566_7788u, m.Rax);
        Assert.Equal(0x5566_7788ul, m.Memory.Read<ulong>(Data + 0x10));
    }

    [Fact]
    public void AComparisonThatFailsStillNeedsTheRightToWrite()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data, P);
        m.Memory.Write(Data, 5u);
        m.Rbx = Spare;
        ulong locked = m.Write(c =>
        {
            c.bt(__dword_ptr[rbx], 1);
            c.cmp(__dword_ptr[rbx], 5);
        });
        m.Write(locked, c => c.@lock.cmpxchg(__dword_ptr[rbx], ecx));
        Stop stop = m.RunToFault(14);
        Assert.Equal((locked, 3u, 0ul), (stop.Rip, stop.ErrorCode, m.Rax));
    }

    [Fact]
    public void AnExchangeThatFaultsKeepsItsRegister()
    {
        using SnippetMachine m = Long();
        m.State.Gpr[12] = Spare;
        m.State.Gpr[13] = 0x99;
        m.Write(c => c.xadd(__qword_ptr[r12], r13));
        m.RunToFault(14);
        Assert.Equal((Spare, 0x99ul), (m.State.Gpr[12], m.State.Gpr[13]));
    }

    [Fact]
    public void SmapHoldsForStringInstructionsToo()
    {
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smap;
        m.Pages.Map(Spare, Data);
        m.Memory.Write(Data, (byte)0x5A);
        m.Rsi = Spare;
        m.Rdi = Data + 0x1000;
        m.Rcx = 4;
        ulong again = m.Write(c =>
        {
            c.stac();
            c.rep.movsb();
            c.clac();
            c.mov(ecx, 2);
        });
        m.Write(again, c => c.rep.movsb());
        Stop stop = m.RunToFault(14);
        Assert.Equal((again, 1u, Spare + 4, 2ul), (stop.Rip, stop.ErrorCode, m.Rsi, m.Rcx));
        Assert.Equal(0x5A, m.Memory.Read<byte>(Data + 0x1000));
    }

    [Fact]
    public void SegmentOverridesReachStringSourcesAndTranslations()
    {
        using SnippetMachine m = Long();
        m.State.Segments[4].Base = Data;
        m.Memory.Write(Data + 0x10, 0x44u);
        m.Rsi = 0x10;
        m.Rdi = Data + 0x100;
        m.Rbx = 8;
        m.Rax = 8;
        m.WriteBytes(Code, 0x64, 0xA5, 0x64, 0xD7, 0xF4);   // fs movsd; fs xlat; hlt
        m.RunToEnd();
        Assert.Equal(0x44u, m.Memory.Read<uint>(Data + 0x100));
        Assert.Equal(0x44u, m.Rax);
        Assert.Equal((0x14ul, Data + 0x104), (m.Rsi, m.Rdi));
    }
}
