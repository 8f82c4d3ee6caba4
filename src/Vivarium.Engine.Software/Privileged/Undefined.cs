using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// Instructions that are #UD whatever the CPU model: those made for it, and those of modes and extensions that no
/// model has and whose privilege a host would complain about first (SMM, VMX, SVM, SGX, SMX, MONITOR).
/// </summary>
internal static unsafe class Undefined
{
    private static ReadOnlySpan<Mnemonic> Mnemonics =>
    [
        Mnemonic.INVALID, Mnemonic.Ud0, Mnemonic.Ud1, Mnemonic.Ud2,
        Mnemonic.Monitor, Mnemonic.Mwait, Mnemonic.Monitorx, Mnemonic.Mwaitx,
        Mnemonic.Rsm,
        Mnemonic.Vmxon, Mnemonic.Vmxoff, Mnemonic.Vmlaunch, Mnemonic.Vmresume, Mnemonic.Vmptrld, Mnemonic.Vmptrst,
        Mnemonic.Vmclear, Mnemonic.Vmread, Mnemonic.Vmwrite, Mnemonic.Vmfunc, Mnemonic.Invept, Mnemonic.Invvpid,
        Mnemonic.Vmrun, Mnemonic.Vmload, Mnemonic.Vmsave, Mnemonic.Stgi, Mnemonic.Clgi, Mnemonic.Skinit, Mnemonic.Invlpga,
        Mnemonic.Encls, Mnemonic.Enclu, Mnemonic.Enclv, Mnemonic.Getsec,
        Mnemonic.Xsaves, Mnemonic.Xsaves64, Mnemonic.Xrstors, Mnemonic.Xrstors64,
    ];

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        foreach (var mnemonic in Mnemonics)
        {
            table[(int)mnemonic] = &Raise;
        }
    }

    public static void Raise(SoftwareVcpu cpu, in Instruction insn) => cpu.Raise(Vector.InvalidOpcode);
}
