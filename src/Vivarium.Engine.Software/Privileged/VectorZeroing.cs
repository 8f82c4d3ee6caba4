using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>VZEROUPPER and VZEROALL outside 64-bit mode, where they leave registers 8 to 15 alone (SDM vol. 2). In 64-bit mode they run as they are.</summary>
internal static unsafe class VectorZeroing
{
    private const int LegacyRegisters = 8;
    private const int XmmBytes = 16;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Vzeroupper] = &Run;
        table[(int)Mnemonic.Vzeroall] = &Run;
    }

    private static void Run(SoftwareVcpu cpu, in Instruction insn)
    {
        var vectors = new VectorState(cpu);
        int from = insn.Mnemonic == Mnemonic.Vzeroall ? 0 : XmmBytes;
        for (int register = 0; register < LegacyRegisters; register++)
        {
            vectors.ClearFrom(register, from);
        }
    }
}
