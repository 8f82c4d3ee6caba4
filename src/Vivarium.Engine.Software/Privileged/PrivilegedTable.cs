using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// Which instructions are trapped and emulated, and by what: a table by mnemonic, because a branch per instruction
/// is the slow way. A handler runs with S-&gt;Rip at the instruction and <see cref="SoftwareVcpu.NextRip"/> after it;
/// it either completes, or throws <see cref="GuestException"/> with nothing changed.
/// </summary>
internal static unsafe class PrivilegedTable
{
    private static readonly delegate*<SoftwareVcpu, in Instruction, void>[] Handlers = Build();

    /// <summary>The handler for an instruction, or null if translated code may run it as it is.</summary>
    public static delegate*<SoftwareVcpu, in Instruction, void> Find(in Instruction instruction)
    {
        if (instruction.Mnemonic == Mnemonic.Mov && !IsSpecialMove(instruction))
        {
            return null;
        }

        return Handlers[(int)instruction.Mnemonic];
    }

    /// <summary>MOV to or from a segment, control or debug register (MOV's other forms are harmless).</summary>
    private static bool IsSpecialMove(in Instruction instruction)
        => IsSpecial(instruction.Op0Register) || IsSpecial(instruction.Op1Register);

    private static bool IsSpecial(Register register)
        => register.IsSegmentRegister() || register.IsCR() || register.IsDR() || register.IsTR();

    private static delegate*<SoftwareVcpu, in Instruction, void>[] Build()
    {
        var table = new delegate*<SoftwareVcpu, in Instruction, void>[Enum.GetValues<Mnemonic>().Length];
        return table;
    }
}
