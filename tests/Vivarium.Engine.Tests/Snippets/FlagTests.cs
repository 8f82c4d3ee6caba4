using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>The arithmetic flags survive whatever translated code does between two guest instructions.</summary>
public sealed class FlagTests
{
    private const ulong Arithmetic = 0x8D5;

    public static TheoryData<string> Between =>
        ["hit", "miss", "store", "push", "pop", "crossing", "mmio", "jump", "chain", "call", "loop", "jrcxz", "indirect", "xmm", "x87", "rdtsc", "rdtscp", "fs", "cmov", "r12", "in", "cpuid", "string"];

    [Theory]
    [MemberData(nameof(Between))]
    public void EveryPatternOfFlagsSurvives(string between)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        for (ulong page = 1; page < 48; page++)
        {
            m.Pages.Map(Spare + (page << 12), Data);
        }

        m.Rsi = Data;
        m.State.Gpr[13] = Data + 0x100;
        m.Write(c =>
        {
            var table = c.CreateLabel();
            c.mov(rbx, 0);
            c.Label(ref table);
            // The flags by POPF from RBX, the action, then the flags to the list at R8.
            c.mov(rax, rbx);
            c.and(eax, (int)Arithmetic);
            c.push(rax);
            c.popfq();
            Act(c, between);
            c.pushfq();
            c.pop(rax);
            c.mov(rdx, rbx);
            c.and(edx, (int)Arithmetic);
            c.and(eax, (int)Arithmetic);
            c.xor(rax, rdx);
            c.or(r11, rax);
            c.inc(ebx);
            c.cmp(ebx, 0x900);
            c.jb(table);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0u, m.State.Gpr[11]);
    }

    private static void Act(Assembler c, string between)
    {
        switch (between)
        {
            case "hit":
                c.mov(rcx, __qword_ptr[rsi]);
                c.mov(rcx, __qword_ptr[rsi + 8]);
                break;
            case "miss":
                c.invlpg(__byte_ptr[rsi]);
                c.mov(rcx, __qword_ptr[rsi]);
                break;
            case "store":
                c.mov(__qword_ptr[rsi + 16], rcx);
                break;
            case "push":
                c.push(rcx);
                c.lea(rsp, __[rsp + 8]);
                break;
            case "pop":
                c.pop(rcx);
                c.lea(rsp, __[rsp - 8]);
                break;
            case "crossing":
                c.mov(rcx, __qword_ptr[rsi + 0xFFC]);
                c.mov(__qword_ptr[rsi + 0xFFC], rcx);
                break;
            case "mmio":
                c.mov(ecx, __dword_ptr[(int)Spare]);
                c.mov(__dword_ptr[(int)Spare], ecx);
                break;
            case "jump":
                var next = c.CreateLabel();
                c.jmp(next);
                c.nop();
                c.Label(ref next);
                break;
            case "chain":
                for (int condition = 0; condition < 3; condition++)
                {
                    var over = c.CreateLabel();
                    c.jo(over);
                    c.nop();
                    c.Label(ref over);
                    var sign = c.CreateLabel();
                    c.jle(sign);
                    c.nop();
                    c.Label(ref sign);
                }

                break;
            case "call":
                var callee = c.CreateLabel();
                c.call(callee);
                c.Label(ref callee);
                c.pop(rcx);
                break;
            case "loop":
                var again = c.CreateLabel();
                c.mov(ecx, 3);
                c.Label(ref again);
                c.loop(again);
                break;
            case "jrcxz":
                var zero = c.CreateLabel();
                c.jrcxz(zero);
                c.Label(ref zero);
                break;
            case "indirect":
                var target = c.CreateLabel();
                c.lea(rcx, __[target]);
                c.jmp(rcx);
                c.nop();
                c.Label(ref target);
                break;
            case "xmm":
                c.movdqu(xmm0, __xmmword_ptr[rsi]);
                c.pxor(xmm1, xmm0);
                break;
            case "x87":
                c.fld1();
                c.fstp(st0);
                break;
            case "rdtsc":
                c.rdtsc();
                break;
            case "rdtscp":
                c.rdtscp();
                break;
            case "fs":
                c.mov(rcx, __qword_ptr.fs[rsi]);
                break;
            case "cmov":
                c.cmovl(rcx, __qword_ptr[rsi]);
                break;
            case "r12":
                c.mov(r12, r13);
                c.mov(r14, __qword_ptr[r13]);
                c.mov(__qword_ptr[r13 + 8], r14);
                break;
            case "in":
                c.@in(al, 0x80);
                break;
            case "cpuid":
                c.mov(r9, rbx);
                c.cpuid();
                c.mov(rbx, r9);
                break;
            default:
                c.mov(rdi, rsi);
                c.movsb();
                c.lea(rsi, __[rdi - 1]);
                break;
        }
    }

    [Fact]
    public void AFaultPushesTheFlagsAsTheyWere()
    {
        for (ulong flags = 0; flags < 0x900; flags += 0x11)
        {
            using SnippetMachine m = Long();
            m.State.Rflags = 2 | (flags & Arithmetic);
            m.Rbx = Spare;
            m.Write(c =>
            {
                c.mov(rcx, __qword_ptr[rsp - 8]);
                c.mov(rax, __qword_ptr[rbx]);
            });
            Assert.Equal(2 | (flags & Arithmetic), m.RunToFault(14).Rflags & 0xFFFF);
            if (flags > 0x100)
            {
                flags += 0x77;
            }
        }
    }

    [Fact]
    public void AShiftByZeroKeepsFlags()
    {
        using SnippetMachine m = Long();
        m.State.Rflags = 2 | Arithmetic;
        m.Rsi = Data;
        m.Write(c =>
        {
            c.shl(__dword_ptr[rsi], cl);
            c.rol(eax, cl);
            c.pushfq();
            c.pop(rdx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(2 | Arithmetic, m.Rdx);
    }

    /// <summary>ROL, ROR, RCL and RCR (ModRM 0 to 3) by a constant: what the first of its kind does must not be held for what all do.</summary>
    [Theory]
    [InlineData(0, 0x84)]
    [InlineData(1, 0x48)]
    [InlineData(2, 0x86)]
    [InlineData(3, 0xC8)]
    public void ARotationByZeroSaysNothingOfOthers(int rotation, ulong result)
    {
        using SnippetMachine m = Long();
        m.Rax = 0x21;
        m.Rbx = Data;
        byte modRm = (byte)(0xC0 | (rotation << 3));
        ulong end = m.WriteBytes(m.State.Rip,
            0xC0, modRm, 0x20, // by 0: changes neither AL nor a flag
            0xF9, // stc
            0x8B, 0x0B, // mov ecx, [rbx]: a check of ours
            0xC0, modRm, 0x02,
            0x8B, 0x0B,
            0x9C, 0x5A, 0xF4); // pushfq; pop rdx; hlt
        m.RunToEnd();
        Assert.Equal(result, m.Rax);
        Assert.Equal(0u, m.Rdx & 1);
        Assert.Equal(end, m.State.Rip);
    }
}
