using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>CPUID (SDM vol. 2A): the CPU model answers.</summary>
internal static unsafe class Cpuid
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
        => table[(int)Mnemonic.Cpuid] = &Execute;

    private static void Execute(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        var context = new CpuidContext((uint)cpu.Index, (s->Cr4 & Cr4Bits.OsXsave) != 0, s->Xcr0);
        var result = cpu.Model.Cpuid((uint)s->Gpr[0], (uint)s->Gpr[1], context);
        s->Gpr[0] = result.Eax;
        s->Gpr[1] = result.Ecx;
        s->Gpr[2] = result.Edx;
        s->Gpr[3] = result.Ebx;
    }
}
