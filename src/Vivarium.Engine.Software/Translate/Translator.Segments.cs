using Iced.Intel;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Selectors are read in any mode; segment registers are loaded here in real mode only, where all that changes is the base
// (SDM vol. 3A, 20.1.1). BIOSes and boot loaders do so all the time.
internal sealed unsafe partial class Translator
{
    private const int ShiftLeft = 4;

    /// <summary>
    /// Real mode, with nothing taken for granted about segments: in a flat block a new base would make the rest of the block
    /// wrong.
    /// </summary>
    private bool LoadsSegmentsByBase => (_mode & (BlockMode.Ring0 | BlockMode.Protected | BlockMode.Code64 | BlockMode.Flat)) == BlockMode.Ring0;

    /// <summary>MOV, PUSH, POP, LDS and the like with a segment register. True if the instruction was translated.</summary>
    private bool EmitSegmentInstruction(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Mov when instruction.Op1Register.IsSegmentRegister() && instruction.Op0Kind == OpKind.Register:
                EmitSelector(T2, instruction.Op1Register);
                EmitWriteGuest(GuestNumber(instruction.Op0Register), T2, instruction.Op0Register.GetSize());
                return true;
            case Mnemonic.Push when instruction.Op0Register.IsSegmentRegister():
                int size = -instruction.StackPointerIncrement;
                HostOperand top = Collapse(EmitStackAccess(-size, size, write: true));
                EmitSelector(top.FreeScratch, instruction.Op0Register);
                EmitStoreSized(top, top.FreeScratch, size);
                EmitAdjustStack(-size);
                return true;
            case Mnemonic.Mov when MayLoad(instruction.Op0Register):
                EmitSegmentCheck(instruction, instruction.Op0Register);
                if (instruction.Op1Kind == OpKind.Register)
                {
                    EmitZeroExtend(T1, HostOrLoad(instruction.Op1Register, T1), 2);
                }
                else
                {
                    EmitLoadZeroExtended(T1, EmitMemory(instruction, 2, read: true, write: false), 2);
                }

                EmitSegmentBase(instruction.Op0Register, T1);
                return true;
            case Mnemonic.Pop when MayLoad(instruction.Op0Register):
                EmitSegmentCheck(instruction, instruction.Op0Register);
                EmitLoadZeroExtended(T1, EmitStackAccess(0, instruction.StackPointerIncrement, write: false), 2);
                EmitAdjustStack(instruction.StackPointerIncrement);
                EmitSegmentBase(instruction.Op0Register, T1);
                return true;
            case Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss when MayLoad(PointerTarget(instruction.Mnemonic)):
                EmitLoadPointer(instruction, PointerTarget(instruction.Mnemonic));
                return true;
            default:
                return false;
        }
    }

    /// <summary>After a load of SS the next instruction comes first, whatever waits: it must be in this block.</summary>
    private bool MayLoad(Register target)
        => LoadsSegmentsByBase && target.IsSegmentRegister() && target != Register.CS && (target != Register.SS || NextIsInBlock);

    private static Register PointerTarget(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Lds => Register.DS,
        Mnemonic.Les => Register.ES,
        Mnemonic.Lfs => Register.FS,
        Mnemonic.Lgs => Register.GS,
        _ => Register.SS,
    };

    private void EmitLoadPointer(in Instruction instruction, Register target)
    {
        int size = instruction.Op0Register.GetSize();
        EmitSegmentCheck(instruction, target);
        HostOperand pointer = Collapse(EmitMemory(instruction, size + 2, read: true, write: false, direct: false));
        EmitLoadZeroExtended(T2, pointer with { Displacement = pointer.Displacement + size }, 2);
        EmitLoadZeroExtended(T1, pointer, size);
        EmitWriteGuest(GuestNumber(instruction.Op0Register), T1, size);
        EmitSegmentBase(target, T2);
    }

    private void EmitSelector(int to, Register segment)
        => _e.Rm(0x0FB7, to, State, Field(segment, StateOffset.SegmentSelector), wide: false); // movzx

    /// <summary>A segment that protected mode has left unusable gets more than a base: that is for the emulation.</summary>
    private void EmitSegmentCheck(in Instruction instruction, Register segment)
    {
        DestroyFlags();
        _e.Rm(0xF7, 0, State, Field(segment, StateOffset.SegmentAttributes), wide: false); // test
        _e.Dword((int)SegmentRegister.Unusable);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JnzCondition), null, (ulong)AddTrap(instruction), _flags));
    }

    /// <summary>Loads the selector in a register, zero-extended, which is lost. RFLAGS are put aside already.</summary>
    private void EmitSegmentBase(Register segment, int selector)
    {
        DestroyFlags(selector == T1 ? T2 : T1);
        _e.Byte(0x66);
        _e.Store(State, Field(segment, StateOffset.SegmentSelector), selector, wide: false);
        _e.Rr(0xC1, ShiftLeft, selector, wide: false);
        _e.Byte(4);
        _e.StoreState(Field(segment, StateOffset.SegmentBase), selector);
        EndCheck();
    }

    private static int Field(Register segment, int field) => StateOffset.Segment(segment - Register.ES) + field;
}
