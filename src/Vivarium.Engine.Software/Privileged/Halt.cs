using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>HLT (SDM vol. 2A). MONITOR and MWAIT are not offered: see <see cref="Undefined"/>.</summary>
internal static unsafe class Halt
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
        => table[(int)Mnemonic.Hlt] = &Hlt;

    private static void Hlt(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();
        cpu.Halted = true;
    }
}
