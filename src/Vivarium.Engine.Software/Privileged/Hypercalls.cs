using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>VMCALL and VMMCALL: either vendor's form reaches the monitor.</summary>
internal static unsafe class Hypercalls
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Vmcall] = &Request;
        table[(int)Mnemonic.Vmmcall] = &Request;
    }

    private static void Request(SoftwareVcpu cpu, in Instruction insn)
    {
        if (!cpu.Model.Has(CpuFeature.Hypervisor))
        {
            throw GuestException.Undefined();
        }

        cpu.HypercallRequested = true;
    }
}
