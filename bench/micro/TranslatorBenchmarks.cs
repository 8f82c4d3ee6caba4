using BenchmarkDotNet.Attributes;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Micro;

/// <summary>
/// Nanoseconds for each guest instruction that is met for the first time: found to be new, decoded, translated, linked and run
/// once. The code is as compilers make it, in short blocks; every iteration has an engine of its own, whose caches are empty.
/// </summary>
public class TranslatorBenchmarks
{
    private const int Instructions = 20_000;
    private const int Seed = 2026;

    private BareMachine _machine = null!;

    [GlobalSetup]
    public void Write()
    {
        _machine = new BareMachine();
        _machine.Write(WriteProgram);
    }

    [IterationSetup]
    public void Start() => _machine.Start();

    /// <summary>One guest instruction.</summary>
    [Benchmark(OperationsPerInvoke = Instructions)]
    public void NewCode() => _machine.RunToHalt();

    [GlobalCleanup]
    public void Clean() => _machine.Dispose();

    private static void WriteProgram(Assembler a)
    {
        var chance = new Random(Seed);
        Label leaf = a.CreateLabel(), again = a.CreateLabel();
        a.Label(ref again);
        a.mov(rbx, BareMachine.Data);
        int written = 1;
        while (written < Instructions)
        {
            // 17 bytes in a block, as in a boot of Linux: some four instructions.
            for (int i = chance.Next(1, 6); i > 0; i--)
            {
                written += WritePlain(a, chance);
            }

            Label next = a.CreateLabel();
            switch (chance.Next(8))
            {
                case 0:
                    a.call(leaf);
                    break;
                case 1 or 2:
                    a.jmp(next);
                    break;
                case 3 or 4:
                    a.je(next);
                    break;
                case 5:
                    a.jb(next);
                    break;
                default:
                    a.jne(next);
                    break;
            }

            written++;
            a.Label(ref next);
            a.nop();
            written++;
        }

        a.hlt();
        a.jmp(again);
        a.Label(ref leaf);
        a.ret();
    }

    /// <summary>Returns how many instructions it wrote.</summary>
    private static int WritePlain(Assembler a, Random chance)
    {
        AssemblerRegister64[] registers = [rax, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15];
        AssemblerRegister64 to = registers[chance.Next(registers.Length)], from = registers[chance.Next(registers.Length)];
        int offset = chance.Next(500) * 8;
        switch (chance.Next(14))
        {
            case 0 or 1 or 2:
                a.mov(to, __qword_ptr[rbx + offset]);
                break;
            case 3 or 4:
                a.mov(__qword_ptr[rbx + offset], from);
                break;
            case 5:
                a.lea(to, __[from + (to * 4) + offset]);
                break;
            case 6:
                a.add(to, from);
                break;
            case 7:
                a.mov(to, from);
                break;
            case 8:
                a.test(to, to);
                break;
            case 9:
                a.cmp(to, offset);
                break;
            case 10:
                a.and(to, offset);
                break;
            case 11:
                a.shl(to, 3);
                break;
            case 12:
                a.add(__qword_ptr[rbx + offset], 1);
                break;
            default:
                a.push(from);
                a.pop(to);
                return 2;
        }

        return 1;
    }
}
