using BenchmarkDotNet.Attributes;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Micro;

/// <summary>Out of translated code and back, for one instruction: nanoseconds for each, the loop around it included.</summary>
public class ExitBenchmarks
{
    private const int Turns = 10_000;
    private const int Halts = 1_000;
    private const byte SoftwareVector = 0x30;
    private const byte PageFaultVector = 14;

    /// <summary>IA32_TSC_DEADLINE, which the bus answers.</summary>
    private const int TscDeadline = 0x6E0;

    private BareMachine _machine = null!;

    [GlobalSetup(Target = nameof(EmptyLoop))]
    public void PrepareEmptyLoop() => Prepare(a => a.nop());

    /// <summary>What the loop itself takes.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void EmptyLoop() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(PortWrite))]
    public void PreparePortWrite() => Prepare(a => a.@out(0x80, al));

    [Benchmark(OperationsPerInvoke = Turns)]
    public void PortWrite() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(PortRead))]
    public void PreparePortRead() => Prepare(a => a.@in(al, 0x80));

    [Benchmark(OperationsPerInvoke = Turns)]
    public void PortRead() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(MmioRead))]
    public void PrepareMmioRead() => Prepare(a => a.mov(eax, __dword_ptr[rbx]));

    [Benchmark(OperationsPerInvoke = Turns)]
    public void MmioRead() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(MmioWrite))]
    public void PrepareMmioWrite() => Prepare(a => a.mov(__dword_ptr[rbx], eax));

    [Benchmark(OperationsPerInvoke = Turns)]
    public void MmioWrite() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(Cpuid))]
    public void PrepareCpuid() => Prepare(a =>
    {
        a.xor(eax, eax);
        a.mov(rsi, rcx);
        a.cpuid();
        a.mov(rcx, rsi);
    });

    [Benchmark(OperationsPerInvoke = Turns)]
    public void Cpuid() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(WriteMsr))]
    public void PrepareWriteMsr() => Prepare(a =>
    {
        a.mov(rsi, rcx);
        a.mov(ecx, TscDeadline);
        a.wrmsr();
        a.mov(rcx, rsi);
    });

    /// <summary>A write of IA32_TSC_DEADLINE.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void WriteMsr() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(SoftwareInterrupt))]
    public void PrepareSoftwareInterrupt()
    {
        Prepare(a => a.@int(SoftwareVector));
        _machine.Handle(SoftwareVector, a => a.iretq());
    }

    /// <summary>INT n and IRETQ, both at CPL 0.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void SoftwareInterrupt() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(PageFault))]
    public void PreparePageFault()
    {
        Prepare(a =>
        {
            a.mov(rdi, BareMachine.Absent);
            // Two bytes: 8A 07.
            a.mov(al, __byte_ptr[rdi]);
        });
        _machine.Handle(PageFaultVector, a =>
        {
            a.add(rsp, 8);
            a.add(__qword_ptr[rsp], 2);
            a.iretq();
        });
    }

    /// <summary>A page fault whose handler steps over the instruction, and IRETQ.</summary>
    [Benchmark(OperationsPerInvoke = Turns)]
    public void PageFault() => _machine.RunToHalt();

    [GlobalSetup(Target = nameof(Halt))]
    public void PrepareHalt()
    {
        _machine = new BareMachine();
        _machine.Write(a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.hlt();
            a.jmp(again);
        });
        _machine.Start();
    }

    /// <summary>HLT out of the vCPU's Run, and into it again.</summary>
    [Benchmark(OperationsPerInvoke = Halts)]
    public void Halt()
    {
        for (int i = 0; i < Halts; i++)
        {
            _machine.RunToHalt();
        }
    }

    [GlobalCleanup]
    public void Clean() => _machine.Dispose();

    private void Prepare(Action<Assembler> body)
    {
        _machine = new BareMachine();
        _machine.Write(a =>
        {
            Label again = a.CreateLabel(), turn = a.CreateLabel();
            a.Label(ref again);
            a.mov(ecx, Turns);
            a.mov(rbx, BareMachine.Mmio);
            a.Label(ref turn);
            body(a);
            a.dec(ecx);
            a.jne(turn);
            a.hlt();
            a.jmp(again);
        });
        _machine.Start();
    }
}
