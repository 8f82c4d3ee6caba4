using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Flags that are not put aside for a memory check, because they can be made again, are the same for whatever asks for them.</summary>
public sealed class FlagRecipeTests
{
    public static TheoryData<string, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (string maker in new[] { "cmp", "cmp r12", "cmp imm", "cmp bytes", "test", "and", "add", "sub", "sub rsp", "neg", "inc", "xor self", "shl", "shr 0", "sar32", "shr r12" })
            {
                foreach (string then in new[]
                {
                    "nothing", "store", "cr0", "rdtsc", "cpuid", "push", "pop", "pushf", "xchg", "sse", "sse store", "div", "adc", "setcc", "cmov", "spoil", "stores", "string",
                    "call", "indirect call", "indirect jump", "bit string", "cli", "shift by zero",
                    "loop", "jrcxz", "far jump", "far conditional", "back", "back conditional",
                })
                {
                    cases.Add(maker, then);
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void FlagsAreTheSameAfterwards(string maker, string then)
    {
        Assert.Equal(Run(maker, then, faults: false, "no-flag-recipes"), Run(maker, then, faults: false, "all"));
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void FlagsAreTheSameInAFault(string maker, string then)
    {
        Assert.Equal(Run(maker, then, faults: true, "no-flag-recipes"), Run(maker, then, faults: true, "all"));
    }

    /// <summary>All registers at the end, and all flags that PUSHFQ tells or the fault finds.</summary>
    private static string Run(string maker, string then, bool faults, string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Unmap(Spare);
        m.Rsi = Data;
        m.Rdi = Data + 0x200;
        m.Rbx = 0x8000_0000_7FFF_FFF8;
        m.Rcx = 3;
        m.State.Gpr[12] = 0x7FFF_FFF0;
        m.State.Gpr[13] = 0xFFFF_FFFF_FFFF_FFFD;
        m.State.Rflags |= 1 | 1 << 11;
        m.Write(c =>
        {
            Label function = c.CreateLabel();
            Label over = c.CreateLabel();
            Label back = c.CreateLabel();
            Label start = c.CreateLabel();
            c.jmp(start);
            c.Label(ref back);
            c.jmp(r9);
            c.Label(ref start);
            c.lea(r8, __[function]);
            c.lea(r9, __[over]);
            c.mov(rbp, rsp);
            c.and(rsp, -64);
            Make(c, maker);
            c.mov(__qword_ptr[rsi], rbx);
            Then(c, then, function, over, back);
            c.Label(ref over);
            c.mov(__qword_ptr[rsi + 8], rbx);
            if (faults)
            {
                c.mov(__qword_ptr[Spare], rbx);
            }

            c.pushfq();
            c.pop(r10);
            c.mov(rsp, rbp);
            c.hlt();
            c.Label(ref function);
            c.mov(__qword_ptr[rsi + 16], rcx);
            c.ret();
        });
        m.Write(Far, c => c.jmp(r9));
        string end = "";
        if (faults)
        {
            Stop stop = m.RunToFault(14);
            end = $"{stop.Rip:x} {stop.Rflags:x}";
        }
        else
        {
            m.RunToEnd();
        }

        // What RDTSC and CPUID give is not of interest.
        return $"{end} {string.Join(' ', m.State.Gpr.Skip(3).Select(value => value.ToString("x")))}";
    }

    private static void Make(Assembler c, string maker)
    {
        switch (maker)
        {
            case "cmp": c.cmp(rbx, rcx); break;
            case "cmp r12": c.cmp(r12d, r13d); break;
            case "cmp imm": c.cmp(ebx, 0x7FFF_FFFE); break;
            case "cmp bytes": c.cmp(bl, r13b); break;
            case "test": c.test(ebx, ebx); break;
            case "and": c.and(ebx, 0x7FFF_FFFF); break;
            case "add": c.add(rbx, r13); break;
            case "sub": c.sub(rcx, rbx); break;
            case "sub rsp": c.sub(rsp, 0x80); break;
            case "neg": c.neg(ebx); break;
            case "inc": c.inc(ebx); break;
            case "xor self": c.xor(r11d, r11d); break;
            case "shl": c.shl(rbx, 1); break;
            case "shr 0": c.cmp(ebx, ecx); c.shr(ebx, 32); break;
            case "sar32": c.sar(ebx, 5); break;
            case "shr r12": c.mov(r12d, ebx); c.shr(r12, 9); break;
            default: throw new ArgumentException(maker);
        }
    }

    /// <summary>Another page, from which R9 leads back.</summary>
    private const ulong Far = SnippetMachine.Code + 0x1000;

    private static void Then(Assembler c, string then, Label function, Label over, Label back)
    {
        switch (then)
        {
            case "nothing": break;
            case "store": c.mov(__dword_ptr[rdi], ecx); break;
            case "cr0": c.mov(rdx, cr0); break;
            case "rdtsc": c.rdtsc(); c.mov(eax, 0); c.mov(edx, 0); break;
            case "cpuid":
                c.mov(r14, rbx);
                c.mov(r15, rcx);
                c.mov(eax, 1);
                c.cpuid();
                c.mov(rbx, r14);
                c.mov(rcx, r15);
                break;
            case "push": c.push(rcx); c.push(rbx); break;
            case "pop": c.pop(rdx); c.pop(rdx); break;
            case "pushf": c.pushfq(); c.pop(r14); break;
            case "xchg": c.xchg(__qword_ptr[rsi], rbx); break;
            case "sse": c.movups(xmm0, __xmmword_ptr[rsi]); c.paddd(xmm0, xmm0); c.movd(r14d, xmm0); break;
            case "sse store": c.paddd(xmm0, xmm0); c.movups(__xmmword_ptr[rdi], xmm0); c.movups(__xmmword_ptr[rdi + 16], xmm0); break;
            case "div":
                c.mov(edx, 0);
                c.mov(eax, 100);
                c.mov(__dword_ptr[rdi], 7);
                c.div(__dword_ptr[rdi]);
                break;
            case "adc": c.adc(rdx, __qword_ptr[rsi]); break;
            case "setcc": c.setb(__byte_ptr[rdi]); c.movzx(r14d, __byte_ptr[rdi]); break;
            case "cmov": c.mov(r14d, 0); c.cmovl(r14, __qword_ptr[rsi]); break;
            case "spoil": c.mov(rbx, __qword_ptr[rdi]); c.mov(rcx, rbx); c.mov(r12, rbx); break;
            case "stores":
                for (int i = 0; i < 6; i++)
                {
                    c.mov(__qword_ptr[rdi + (8 * i)], rcx);
                    c.lea(rdx, __[rdi + i]);
                }

                break;
            case "string":
                c.mov(r14, rdi);
                c.mov(r15, rcx);
                c.mov(eax, 0);
                c.mov(ecx, 16);
                c.rep.stosb();
                c.mov(rdi, r14);
                c.mov(rcx, r15);
                break;
            case "call": c.call(function); break;
            case "indirect call": c.call(r8); break;
            case "indirect jump": c.jmp(r9); break;
            case "bit string": c.bts(__qword_ptr[rdi], r13); break;
            case "cli": c.cli(); c.mov(__dword_ptr[rdi], ecx); break;
            case "loop": c.loop(back); break;
            case "jrcxz": c.lea(rcx, __[rcx - 3]); c.jrcxz(over); break;
            case "far jump": c.jmp(Far); break;
            case "far conditional": c.jge(Far); c.jb(Far); break;
            case "back": c.jmp(back); break;
            case "back conditional": c.jo(back); c.ja(back); break;
            case "shift by zero": c.shl(__dword_ptr[rdi], 0); break;
            default: throw new ArgumentException(then);
        }
    }
}
