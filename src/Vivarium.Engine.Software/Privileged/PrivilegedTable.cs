using Iced.Intel;
using Vivarium.Engine.Software.Decode;

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
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov:
                return FindMove(instruction);

            // SSE2 has instructions of the same names.
            case Mnemonic.Movsd or Mnemonic.Cmpsd when !instruction.IsStringInstruction:
                return null;
            case Mnemonic.Vzeroupper or Mnemonic.Vzeroall when instruction.CodeSize == CodeSize.Code64:
                return null;
            case Mnemonic.Push or Mnemonic.Pop when !instruction.Op0Register.IsSegmentRegister():
            case Mnemonic.Jmp when !(instruction.IsJmpFar || instruction.IsJmpFarIndirect):
            case Mnemonic.Call when !(instruction.IsCallFar || instruction.IsCallFarIndirect):
                return null;
            default:
                return Handlers[(int)instruction.Mnemonic];
        }
    }

    /// <summary>MOV to or from a control, debug, test or segment register (its other forms are harmless).</summary>
    private static delegate*<SoftwareVcpu, in Instruction, void> FindMove(in Instruction instruction)
    {
        Register special = IsSpecial(instruction.Op0Register) ? instruction.Op0Register : instruction.Op1Register;
        if (special.IsCR())
        {
            return &ControlRegisters.Mov;
        }

        if (special.IsDR())
        {
            return &DebugRegisters.Mov;
        }

        if (special.IsTR())
        {
            return &Undefined.Raise;
        }

        return special.IsSegmentRegister() ? Handlers[(int)Mnemonic.Mov] : null;
    }

    private static bool IsSpecial(Register register)
        => register.IsSegmentRegister() || register.IsCR() || register.IsDR() || register.IsTR();

    private static delegate*<SoftwareVcpu, in Instruction, void>[] Build()
    {
        var table = new delegate*<SoftwareVcpu, in Instruction, void>[FormCounts.Mnemonics];
        InterruptReturn.Register(table);
        SoftwareInterrupts.Register(table);
        Syscalls.Register(table);
        FarTransfers.Register(table);
        SegmentLoads.Register(table);
        DescriptorTables.Register(table);
        SelectorQueries.Register(table);
        SegmentBases.Register(table);
        Tlb.Register(table);

        ByteMaskMoves.Register(table);
        Caches.Register(table);
        ControlRegisters.Register(table);
        Cpuid.Register(table);
        DecimalAdjust.Register(table);
        ExtendedState.Register(table);
        FlagInstructions.Register(table);
        GatherScatter.Register(table);
        Halt.Register(table);
        Hypercalls.Register(table);
        Legacy.Register(table);
        Msrs.Register(table);
        PortIo.Register(table);
        Strings.Register(table);
        Timestamps.Register(table);
        Undefined.Register(table);
        VectorZeroing.Register(table);
        return table;
    }
}
