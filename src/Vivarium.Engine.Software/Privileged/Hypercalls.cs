using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>VMCALL and VMMCALL: either vendor's form reaches the monitor, at any privilege level.</summary>
internal static unsafe class Hypercalls
{
    private const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsi = 6;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Vmcall] = &Call;
        table[(int)Mnemonic.Vmmcall] = &Call;
    }

    private static void Call(SoftwareVcpu cpu, in Instruction insn)
    {
        int word = cpu.Code64 ? 8 : 4;
        var call = new Hypercall(
            cpu.ReadGpr(Rax, word), cpu.ReadGpr(Rbx, word), cpu.ReadGpr(Rcx, word), cpu.ReadGpr(Rdx, word), cpu.ReadGpr(Rsi, word), cpu.Code64, cpu.Cpl);
        if (!cpu.Model.Has(CpuFeature.Hypervisor) || !cpu.Bus.Hypercall(call, out ulong result))
        {
            cpu.Raise(Vector.InvalidOpcode);
            return;
        }

        cpu.WriteGpr(Rax, word, result);
    }
}
