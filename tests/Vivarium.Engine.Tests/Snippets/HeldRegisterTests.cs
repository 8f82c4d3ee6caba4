using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>R12 to R15, which translations hold in scratch registers for a while, are what they should be wherever anybody looks.</summary>
public sealed class HeldRegisterTests
{
    private static readonly AssemblerRegister64[] Wide = [rax, rbx, rdx, r8, r12, r13, r14, r15];
    private static readonly AssemblerRegister32[] Narrow = [eax, ebx, edx, r8d, r12d, r13d, r14d, r15d];
    private static readonly AssemblerRegister8[] Bytes = [al, bl, dl, r8b, r12b, r13b, r14b, r15b];

    /// <summary>The optimisations that decide what is in the scratch registers, off; the machines must agree.</summary>
    private const string Plain = "no-held-registers,no-shared-checks,no-shift-recipes,no-flag-recipes,no-loops";

    [Theory]
    [InlineData("")]
    [InlineData("loops-at-once")]
    [InlineData("no-shared-checks")]
    [InlineData("loops-at-once,no-loop-windows")]
    [InlineData("no-lazy-flags")]
    public void RandomLoopsFaultWithTheSameRegisters(string options)
    {
        for (int seed = 0; seed < 60; seed++)
        {
            Assert.Equal($"{seed}: {Run(seed, Plain)}", $"{seed}: {Run(seed, options)}");
        }
    }

    /// <summary>A loop through two pages, behind which none is.</summary>
    private static string Run(int seed, string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x1000);
        m.Pages.Unmap(Spare + 0x2000);
        var chance = new Random(seed);
        for (int i = 0; i < 16; i++)
        {
            m.State.Gpr[i] = i == 4 ? m.State.Gpr[4] : (ulong)chance.NextInt64();
        }

        m.Rsi = Spare;
        m.Rdi = Data + 0x2000;
        m.State.Gpr[9] = Data + 0x2100;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            int length = chance.Next(4, 34);
            for (int i = 0; i < length; i++)
            {
                Add(c, chance);
            }

            c.mov(r10, __qword_ptr[rsi + chance.Next(8)]);
            c.add(rsi, chance.Next(8, 200));
            c.cmp(rsi, 0x7FFF_0000);
            c.jne(again);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        return $"{stop} {string.Join(' ', m.State.Gpr.Select(value => value.ToString("x")))} {Checksum(m):x}";
    }

    private static ulong Checksum(SnippetMachine m)
    {
        ulong sum = 0;
        for (ulong at = 0; at < 0x3000; at += 8)
        {
            sum = (sum * 31) + m.Memory.Read<ulong>(Data + at);
        }

        return sum;
    }

    private static void Add(Assembler c, Random chance)
    {
        AssemblerRegister64 a = Wide[chance.Next(Wide.Length)];
        AssemblerRegister64 b = Wide[chance.Next(Wide.Length)];
        AssemblerRegister32 n = Narrow[chance.Next(Narrow.Length)];
        AssemblerRegister32 o = Narrow[chance.Next(Narrow.Length)];
        AssemblerRegister8 p = Bytes[chance.Next(Bytes.Length)];
        int at = chance.Next(0, 0x40);
        switch (chance.Next(26))
        {
            case 0 or 1: c.mov(a, b); break;
            case 2: c.mov(n, o); break;
            case 3: c.add(a, b); break;
            case 4: c.sub(n, o); break;
            case 5:
                // It leaves some flags undefined.
                c.imul(a, b);
                c.cmp(a, b);
                break;
            case 6: c.shr(a, (byte)chance.Next(64)); break;
            case 7: c.shl(n, (byte)chance.Next(32)); break;
            case 8: c.sar(a, 1); break;
            case 9: c.setb(p); break;
            case 10: c.cmovae(a, b); break;
            case 11: c.cmovs(n, o); break;
            case 12: c.movzx(n, p); break;
            case 13: c.adc(a, b); break;
            case 14: c.lea(a, __[b + (r13 * 2) + at]); break;
            case 15: c.mov(a, __qword_ptr[rdi + at]); break;
            case 16: c.mov(__qword_ptr[rdi + at], a); break;
            case 17: c.add(a, __qword_ptr[r9 + at]); break;
            case 18: c.mov(__dword_ptr[r9 + at], n); break;
            case 19: c.xor(a, a); break;
            case 20: c.inc(a); break;
            case 21: c.mov(r11, rdi); c.mov(r14, r11); c.sub(__qword_ptr[r14 + at], b); break;
            case 22: c.movsxd(a, n); break;
            case 23: c.test(a, a); break;
            case 24: c.xchg(a, b); break;
            default: c.push(a); c.pop(b); break;
        }
    }
}
