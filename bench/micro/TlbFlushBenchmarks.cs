using BenchmarkDotNet.Attributes;
using Iced.Intel;
using Vivarium.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Micro;

/// <summary>What a flush costs with what it makes necessary: the refill of some pages.</summary>
public class TlbFlushBenchmarks
{
    private const int Turns = 10_000;

    private BareMachine _machine = null!;

    /// <summary>How many pages are read after each flush.</summary>
    [Params(1, 16)]
    public int Pages { get; set; }

    [GlobalSetup(Target = nameof(MoveToCr3))]
    public void PrepareMoveToCr3() => Prepare(a =>
    {
        a.mov(rax, cr3);
        a.mov(cr3, rax);
    });

    /// <summary>MOV to CR3.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void MoveToCr3() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(InvalidatePage))]
    public void PrepareInvalidatePage() => Prepare(a => a.invlpg(__byte_ptr[rbx]));

    /// <summary>INVLPG of one of the pages.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void InvalidatePage() => _machine.RunToHalt();

    [GlobalCleanup]
    public void Clean() => _machine.Dispose();

    private void Prepare(Action<Assembler> flush)
    {
        _machine = new BareMachine();
        _machine.Write(a =>
        {
            Label again = a.CreateLabel(), turn = a.CreateLabel();
            a.Label(ref again);
            a.mov(ecx, Turns);
            a.mov(rbx, BareMachine.Data);
            a.Label(ref turn);
            flush(a);
            for (int page = 0; page < Pages; page++)
            {
                a.mov(rax, __qword_ptr[rbx + (page * (int)GuestMemory.PageSize)]);
            }

            a.dec(ecx);
            a.jne(turn);
            a.hlt();
            a.jmp(again);
        });
        _machine.Start();
    }
}
