using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Follows undefined flags through straight-line code with local jumps: they must never be read.</summary>
internal static class FlagFlow
{
    private const ulong Arithmetic = 0x8D5;
    private const ulong Overflow = 0x800;

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

    /// <summary>Flags that the instruction may leave undefined when it completes.</summary>
    public static ulong Undefined(in Instruction instruction)
        => ToRflags(instruction.RflagsUndefined) | (RotatesThroughCarryByWholeTurns(instruction) ? Overflow : 0);

    /// <summary>
    /// RCL or RCR of 8 or 16 bits whose masked count is a multiple of 9 or 17: operand and CF come back to what they were, but OF is
    /// defined for a count of 1 and untouched for one of 0 only (SDM vol. 2B, RCL/RCR/ROL/ROR, "Flags Affected"). Iced takes it for no operation;
    /// AMD's processors set OF from the result and CF, which may be undefined itself.
    /// </summary>
    private static bool RotatesThroughCarryByWholeTurns(in Instruction instruction)
    {
        const int countMask = 31;
        int turn = instruction.Code switch
        {
            Code.Rcl_rm8_imm8 or Code.Rcr_rm8_imm8 => 9,
            Code.Rcl_rm16_imm8 or Code.Rcr_rm16_imm8 => 17,
            _ => 0,
        };
        int count = turn != 0 ? instruction.Immediate8 & countMask : 0;
        return count != 0 && count % turn == 0;
    }

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
        return (maybeNothing ? before : before & ~defined) | Undefined(instruction);
    }
}
