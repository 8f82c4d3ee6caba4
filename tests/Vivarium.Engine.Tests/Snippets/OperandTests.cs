using System.Numerics;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;
using Assembler = Iced.Intel.Assembler;
using AssemblerRegister32 = Iced.Intel.AssemblerRegister32;
using AssemblerRegister64 = Iced.Intel.AssemblerRegister64;

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

    /// <summary>Each instruction on RBX and RSI, and the same on two registers of the state block: as results and flags.</summary>
    [Fact]
    public void RegistersWithoutAPlaceAreOperandsLikeOthers()
    {
        (string Name, Action<Assembler, AssemblerRegister64, AssemblerRegister64, AssemblerRegister32, AssemblerRegister32> Write)[] forms =
        [
            ("mov", (c, a, b, _, _) => c.mov(a, b)),
            ("mov to itself", (c, _, _, a, _) => c.mov(a, a)),
            ("mov 32", (c, _, _, a, b) => c.mov(a, b)),
            ("mov imm", (c, a, _, _, _) => c.mov(a, -5)),
            ("mov imm 32", (c, _, _, a, _) => c.mov(a, 0x7000_0001)),
            ("mov imm 32 negative", (c, _, _, a, _) => c.mov(a, 0xFFFF_FFF0)),
            ("mov imm 64", (c, a, _, _, _) => c.mov(a, 0x1234_5678_9ABC_DEF0)),
            ("add", (c, a, b, _, _) => c.add(a, b)),
            ("add 32", (c, _, _, a, b) => c.add(a, b)),
            ("add to itself", (c, a, _, _, _) => c.add(a, a)),
            ("add imm", (c, a, _, _, _) => c.add(a, 0x11)),
            ("adc", (c, a, b, _, _) => c.adc(a, b)),
            ("and 32 imm", (c, _, _, a, _) => c.and(a, 0x0F0F_0F0F)),
            ("xor with itself", (c, a, _, _, _) => c.xor(a, a)),
            ("xor with itself 32", (c, _, _, a, _) => c.xor(a, a)),
            ("sub from itself 32", (c, _, _, a, _) => c.sub(a, a)),
            ("sbb from itself", (c, a, _, _, _) => c.sbb(a, a)),
            ("cmp", (c, a, b, _, _) => c.cmp(a, b)),
            ("cmp imm 32", (c, _, _, a, _) => c.cmp(a, 0x70)),
            ("test", (c, a, b, _, _) => c.test(a, b)),
            ("test with rax", (c, _, b, _, _) => c.test(rax, b)),
            ("test with itself", (c, a, _, _, _) => c.test(a, a)),
            ("test with itself 32", (c, _, _, a, _) => c.test(a, a)),
            ("test imm", (c, a, _, _, _) => c.test(a, 0x10)),
            ("inc 32", (c, _, _, a, _) => c.inc(a)),
            ("neg", (c, a, _, _, _) => c.neg(a)),
            ("shl", (c, a, _, _, _) => c.shl(a, cl)),
            ("shr 32", (c, _, _, a, _) => c.shr(a, 3)),
            ("sar by 0", (c, _, _, a, _) => c.sar(a, 0)),
            ("imul", (c, a, b, _, _) => c.imul(a, b)),
            ("imul imm", (c, _, _, a, b) => c.imul(a, b, 7)),
            ("mul", (c, a, _, _, _) => c.mul(a)),
            ("bt", (c, a, b, _, _) => c.bt(a, b)),
            ("bts imm", (c, a, _, _, _) => c.bts(a, 40)),
            ("btr imm 32", (c, _, _, a, _) => c.btr(a, 5)),
            ("cmovc", (c, a, b, _, _) => c.cmovc(a, b)),
            ("cmovnc 32", (c, _, _, a, b) => c.cmovnc(a, b)),
            ("cmovc 32", (c, _, _, a, b) => c.cmovc(a, b)),
            ("bsf", (c, a, b, _, _) => c.bsf(a, b)),
            ("movsxd", (c, a, _, _, b) => c.movsxd(a, b)),
            ("movsxd of itself", (c, a, _, b, _) => c.movsxd(a, b)),
            ("xchg", (c, a, b, _, _) => c.xchg(a, b)),
            ("xadd", (c, a, b, _, _) => c.xadd(a, b)),
            ("cmpxchg", (c, a, b, _, _) => c.cmpxchg(a, b)),
            ("shld", (c, a, b, _, _) => c.shld(a, b, 9)),
            ("bswap", (c, a, _, _, _) => c.bswap(a)),
            ("movq", (c, a, b, _, _) =>
            {
                c.movq(xmm0, a);
                c.movq(b, xmm0);
            }),
            ("movd", (c, _, _, a, b) =>
            {
                c.movd(xmm0, a);
                c.movd(b, xmm0);
            }),
            ("lea", (c, a, b, _, _) => c.lea(a, __[b + a * 4 + 0x1000])),
            ("lea 32", (c, a, b, d, _) => c.lea(d, __[b + a + 1])),
            ("lea of one", (c, a, _, d, _) => c.lea(d, __[a])),
        ];
        foreach (ulong second in (ReadOnlySpan<ulong>)[0xFEDC_BA98_8000_0003, 0])
        {
            foreach ((string name, var write) in forms)
            {
                (ulong, ulong, ulong, ulong) usual = Run(c => write(c, rbx, rsi, ebx, esi), 3, 6);
                Assert.Equal((name, usual), (name, Run(c => write(c, r12, r13, r12d, r13d), 12, 13)));
                Assert.Equal((name, usual), (name, Run(c => write(c, rbx, r14, ebx, r14d), 3, 14)));
                Assert.Equal((name, usual), (name, Run(c => write(c, r15, rsi, r15d, esi), 15, 6)));
            }

            (ulong First, ulong Second, ulong Rax, ulong Flags) Run(Action<Assembler> form, int first, int other)
            {
                using SnippetMachine m = Long();
                m.State.Gpr[first] = 0x8765_4321_8FED_CBA9;
                m.State.Gpr[other] = second;
                m.Rax = 0x8765_4321_8FED_CBA9;
                m.Rcx = 5;
                m.State.Rflags |= 1;
                m.Write(c =>
                {
                    form(c);
                    c.hlt();
                });
                m.RunToEnd();
                return (m.State.Gpr[first], m.State.Gpr[other], m.Rax, m.State.Rflags);
            }
        }
    }
}
