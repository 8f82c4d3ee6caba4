using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// PUSH, POP, LEAVE: the stack is guest memory like any other; the stack pointer moves only when nothing can fault any more.
internal sealed unsafe partial class Translator
{
    /// <summary>Asked of <see cref="FormKinds.Special"/> ones only.</summary>
    private bool EmitStackOperation(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push:
                EmitPush(instruction);
                return true;
            case Mnemonic.Pop:
                EmitPop(instruction);
                return true;
            case Mnemonic.Leave:
                EmitLeave(instruction);
                return true;
            default:
                return false;
        }
    }

    private void EmitPush(in Instruction instruction)
    {
        int size = -instruction.StackPointerIncrement;
        switch (instruction.Op0Kind)
        {
            case OpKind.Register:
                int guest = GuestNumber(instruction.Op0Register);
                HostOperand top = EmitStackAccess(-size, size, write: true);
                int host = Of(guest);
                if (host < 0)
                {
                    top = Collapse(top);
                    host = top.FreeScratch;
                    _e.LoadState(host, StateOffset.Gpr(guest));
                }

                EmitStoreSized(top, host, size);
                break;
            case OpKind.Memory:
                HostOperand operand = EmitMemory(instruction, size, read: true, write: false, AccessRules.BeforeWrite);
                EmitLoadZeroExtended(T2, operand, size);
                _e.StoreState(StateOffset.Scratch, T2);
                top = Collapse(EmitStackAccess(-size, size, write: true));
                _e.LoadState(top.FreeScratch, StateOffset.Scratch);
                EmitStoreSized(top, top.FreeScratch, size);
                break;
            default:
                EmitPushImmediate(size, instruction.GetImmediate(0));
                return;
        }

        EmitCommit();
        EmitAdjustStack(-size);
    }

    /// <summary>Returns a scratch register that holds the constant afterwards, or -1.</summary>
    private int EmitPushImmediate(int size, ulong value, bool isRip = false)
    {
        int register = -1;
        HostOperand top = EmitStackAccess(-size, size, write: true);
        if (size == 8 && Relocations.IsShort(value) && (!isRip || (!Floating && Relocations.IsShort(_source.Rip))))
        {
            _e.Op(0xC7, 0, top);
            if (isRip)
            {
                _e.Rip32(value);
            }
            else
            {
                _e.Dword((int)value);
            }
        }
        else
        {
            top = Collapse(top);
            register = top.FreeScratch;
            if (isRip)
            {
                _e.MovRip(register, value);
            }
            else
            {
                _e.MovImm(register, value);
            }

            EmitStoreSized(top, register, size);
        }

        EmitCommit();
        EmitAdjustStack(-size);
        return register == T1 && !Careful ? T1 : -1;
    }

    private void EmitPop(in Instruction instruction)
    {
        int size = instruction.StackPointerIncrement;
        HostOperand top = EmitStackAccess(0, size, write: false);
        if (instruction.Op0Kind == OpKind.Register)
        {
            int guest = GuestNumber(instruction.Op0Register);
            int host = Of(guest);
            if (size == 8 && host >= 0 && host != GuestRsp)
            {
                _e.Op(0x8B, host, top);
                EmitAdjustStack(size);
                return;
            }

            EmitLoadZeroExtended(T1, top, size);
            EmitAdjustStack(size);
            EmitWriteGuest(guest, T1, size);
            return;
        }

        // The operand's address counts the stack pointer as already moved (SDM, POP).
        EmitLoadZeroExtended(T2, top, size);
        _e.StoreState(StateOffset.Scratch, T2);
        bool viaStack = instruction.MemoryBase.IsGPR() && GuestNumber(instruction.MemoryBase) == 4;
        HostOperand operand = Collapse(EmitMemory(instruction, size, read: false, write: true, adjust: viaStack ? size : 0));
        _e.LoadState(operand.FreeScratch, StateOffset.Scratch);
        EmitStoreSized(operand, operand.FreeScratch, size);
        EmitCommit();
        EmitAdjustStack(size);
    }

    private void EmitLeave(in Instruction instruction)
    {
        int size = instruction.Code switch { Code.Leavew => 2, Code.Leaved => 4, _ => 8 };
        int bits = _mode.StackBits();
        EmitZeroExtend(T1, Rbp, bits / 8);
        EmitLoadZeroExtended(T2, EmitAccess(SegmentSs, size, read: true, write: false, @base: Rbp), size);
        switch (bits)
        {
            case 64:
                _e.Lea(GuestRsp, Rbp, size);
                break;
            case 32:
                _e.Lea(GuestRsp, Rbp, size, wide: false);
                break;
            default:
                _e.Lea(T1, Rbp, size, wide: false);
                Emit16(0x89, T1, GuestRsp);
                break;
        }

        EmitWriteGuest(5, T2, size);
    }

    /// <summary>Checks a word of the stack, at an offset from the stack pointer.</summary>
    private HostOperand EmitStackAccess(int offset, int size, bool write)
    {
        if (InRun)
        {
            return new HostOperand(GuestRsp, T2, offset + _movedStack);
        }

        if (KnowsStack(offset, offset + size, write))
        {
            _e.LoadState(T2, StateOffset.KnownDelta);
            return new HostOperand(GuestRsp, T2, offset);
        }

        int window = WindowAccessOf(size, write);
        if (window >= 0 && _secondRound)
        {
            _e.LoadState(T2, DeltaOfAccess(window));
            return new HostOperand(GuestRsp, T2, offset);
        }

        EmitStackAddress(offset);
        return EmitAccess(SegmentSs, size, read: !write, write, @base: GuestRsp, displacement: offset, window: window);
    }

    /// <summary>T1 = stack pointer + <paramref name="offset"/>, wrapped to the stack's address size.</summary>
    private void EmitStackAddress(int offset)
    {
        switch (_mode.StackBits())
        {
            case 64 when offset == 0:
                _e.MovRr(T1, GuestRsp);
                break;
            case 64:
                _e.Lea(T1, GuestRsp, offset);
                break;
            case 32:
                _e.Lea(T1, GuestRsp, offset, wide: false);
                break;
            default:
                _e.Lea(T1, GuestRsp, offset, wide: false);
                _e.Rr(0x0FB7, T1, T1, wide: false);
                break;
        }
    }

    /// <summary>Moves the stack pointer; in a run, when <see cref="EmitMovedStack"/> says so. T2 may be lost.</summary>
    private void EmitAdjustStack(int by)
    {
        switch (_mode.StackBits())
        {
            case 64 when InRun:
                _movedStack += by;
                break;
            case 64:
                _e.Lea(GuestRsp, GuestRsp, by);
                break;
            case 32:
                _e.Lea(GuestRsp, GuestRsp, by, wide: false);
                break;
            default:
                _e.Lea(T2, GuestRsp, by, wide: false);
                Emit16(0x89, T2, GuestRsp);
                break;
        }
    }

    private void EmitStoreSized(in HostOperand operand, int reg, int size)
    {
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        _e.Op(0x89, reg, operand, wide: size == 8);
    }

    /// <summary>Guest register = scratch register, with the merge rules of the size.</summary>
    private void EmitWriteGuest(int guest, int from, int size)
    {
        int host = Of(guest);
        if (host < 0)
        {
            if (size == 2)
            {
                _e.Byte(0x66);
                _e.Store(State, StateOffset.Gpr(guest), from, wide: false);
            }
            else
            {
                _e.StoreState(StateOffset.Gpr(guest), from); // 32-bit values are zero-extended already
            }

            return;
        }

        switch (size)
        {
            case 2:
                Emit16(0x89, from, host);
                break;
            case 4:
                _e.Mov32Rr(host, from);
                break;
            default:
                _e.MovRr(host, from);
                break;
        }
    }
}
