using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>INVD, WBINVD, WBNOINVD (SDM vol. 2). Guest memory is always coherent, so only the privilege counts; the CLFLUSH family runs natively.</summary>
internal static unsafe class Caches
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Invd] = &Write;
        table[(int)Mnemonic.Wbinvd] = &Write;
        table[(int)Mnemonic.Wbnoinvd] = &Write;
    }

    private static void Write(SoftwareVcpu cpu, in Instruction insn) => cpu.RequireRing0();
}
