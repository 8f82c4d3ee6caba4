using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Follows undefined flags through straight-line code with local jumps: they must never be read.</summary>
internal static class FlagFlow
{
    private const ulong Arithmetic = 0x8D5;

    /// <summary>False when an instruction reads a flag that may be undefined there.</summary>
    /// <param name="undefined">Flags that may be undefined at the end.</param>
    /// <param name="everUndefined">Flags that are undefined anywhere.</param>
    public static bool Check(List<Instruction> instructions, out ulong undefined, out ulong everUndefined)
    {
        int count = instructions.Count;
        Span<ulong> before = stackalloc ulong[count + 1];
        before.Clear();
        everUndefined = 0;
        bool changed = true;
        while (changed)
        {
            changed = false;
            for (int at = 0; at < count; at++)
            {
                Instruction instruction = instructions[at];
                ulong after = After(instruction, before[at]);
                everUndefined |= after;
                if (instruction.HasRepPrefix || instruction.HasRepnePrefix)
                {
                    // Intel restores the flags when an iteration faults, AMD keeps those of the iterations done.
                    everUndefined |= ToRflags(instruction.RflagsModified);
                }

                if (instruction.FlowControl == FlowControl.ConditionalBranch)
                {
                    int target = Target(instructions, instruction.NearBranchTarget);
                    changed |= (before[target] | after) != before[target];
                    before[target] |= after;
                }

                changed |= (before[at + 1] | after) != before[at + 1];
                before[at + 1] |= after;
            }
        }

        undefined = before[count];
        for (int at = 0; at < count; at++)
        {
            if ((Read(instructions[at]) & before[at]) != 0)
            {
                return false;
            }
        }

        return true;
    }

    public static ulong ToRflags(RflagsBits bits)
        => ((bits & RflagsBits.CF) != 0 ? 1ul : 0) | ((bits & RflagsBits.PF) != 0 ? 4ul : 0) | ((bits & RflagsBits.AF) != 0 ? 0x10ul : 0)
            | ((bits & RflagsBits.ZF) != 0 ? 0x40ul : 0) | ((bits & RflagsBits.SF) != 0 ? 0x80ul : 0) | ((bits & RflagsBits.OF) != 0 ? 0x800ul : 0);

    private static int Target(List<Instruction> instructions, ulong rip)
    {
        for (int at = 0; at < instructions.Count; at++)
        {
            // Targets of 16-bit jumps are offsets.
            if (instructions[at].IP == rip || (ushort)instructions[at].IP == rip)
            {
                return at;
            }
        }

        return instructions.Count;
    }

    private static ulong Read(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq or Mnemonic.Lahf
            ? Arithmetic
            : ToRflags(instruction.RflagsRead);

    private static ulong After(in Instruction instruction, ulong before)
    {
        ulong defined = ToRflags(instruction.RflagsWritten | instruction.RflagsCleared | instruction.RflagsSet);
        bool maybeNothing = instruction.HasRepPrefix || instruction.HasRepnePrefix
            || (instruction.OpCount > 1 && instruction.GetOpKind(instruction.OpCount - 1) == OpKind.Register && instruction.GetOpRegister(instruction.OpCount - 1) == Register.CL);
        return (maybeNothing ? before : before & ~defined) | ToRflags(instruction.RflagsUndefined);
    }
}
