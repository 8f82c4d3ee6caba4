using Iced.Intel;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Privileged and sensitive instructions that kernels use all the time, in their usual case; everything else about them
// is for Privileged/.
internal sealed unsafe partial class Translator
{
    private const int And = 4;
    private const int Or = 1;
    private const int JzCondition = 4;

    /// <summary>IF and DF in the second byte of SystemFlags.</summary>
    private const int SecondByteIf = (int)(RflagsBits.If >> 8);
    private const int SecondByteDf = (int)(RflagsBits.Df >> 8);

    /// <summary>RIP, CS, RFLAGS, RSP, SS.</summary>
    private const int InterruptFrameSize = 40;

    private bool Ring0 => (_mode & BlockMode.Ring0) != 0;

    /// <summary>True if the instruction is translated here. Careful translations leave all to the emulation.</summary>
    private bool EmitPrivileged(in Instruction instruction)
    {
        if (Careful || !Options.Has(Optimizations.InlinePrivileged))
        {
            return false;
        }

        if (EmitStringElement(instruction) || EmitRepeat(instruction) || EmitFlagInstruction(instruction) || EmitSegmentInstruction(instruction))
        {
            return true;
        }

        if (CodeBits != 64)
        {
            return false;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Stac when Ring0 && Options.Has(Optimizations.AccessSwitches):
                EmitAccessSwitch(allow: true);
                return true;
            case Mnemonic.Clac when Ring0 && Options.Has(Optimizations.AccessSwitches):
                EmitAccessSwitch(allow: false);
                return true;
            case Mnemonic.Syscall when (_mode & BlockMode.User) != 0 && Options.Has(Optimizations.PrivilegeSwitches):
                EmitSyscall(instruction);
                return true;
            case Mnemonic.Sysretq when Ring0 && Options.Has(Optimizations.PrivilegeSwitches):
                EmitPrivilegeSwitch(instruction, _thunks.System.Sysret);
                return true;
            case Mnemonic.Iretq when Ring0 && Options.Has(Optimizations.PrivilegeSwitches):
                _e.Op(0x8D, T1, EmitStackAccess(0, InterruptFrameSize, write: false)); // lea
                EmitPrivilegeSwitch(instruction, _thunks.System.InterruptReturn);
                return true;
            case Mnemonic.Mov when Ring0 && ControlRegister(instruction.Op1Register) is { } control && Options.Has(Optimizations.SystemRegisters):
                _e.LoadState(T2, control);
                EmitWriteGuest(GuestNumber(instruction.Op0Register), T2, 8);
                return true;
            case Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase when Options.Has(Optimizations.SystemRegisters):
                EmitSegmentBase(instruction);
                return true;
            case Mnemonic.Xsave64 or Mnemonic.Xsavec64 or Mnemonic.Xrstor64 when MaySaveExtended(instruction):
                EmitExtendedSave(instruction);
                return true;
            case Mnemonic.Swapgs when Ring0:
                EmitSwapGs();
                return true;
            default:
                return false;
        }
    }

    /// <summary>CLI, STI, CLD, STD, PUSHF and POPF, in code of any size.</summary>
    private bool EmitFlagInstruction(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Cli when Ring0:
                EmitSystemFlag(And, ~SecondByteIf);
                return true;
            case Mnemonic.Sti when Ring0 && NextIsInBlock:
                EmitSti(instruction);
                return true;
            case Mnemonic.Cld:
                EmitSystemFlag(And, ~SecondByteDf);
                return true;
            case Mnemonic.Std:
                EmitSystemFlag(Or, SecondByteDf);
                return true;
            case Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq when !Virtual8086:
                EmitPushFlags(-instruction.StackPointerIncrement);
                return true;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq when Ring0:
                EmitPopFlags(instruction, instruction.StackPointerIncrement);
                return true;
            default:
                return false;
        }
    }

    private bool Virtual8086 => (_mode & (BlockMode.User | BlockMode.Protected)) == BlockMode.User;

    /// <summary>The next instruction will be translated in this block, whatever it is.</summary>
    private bool NextIsInBlock => _index + 1 < _guest.Count && !EndsBefore(_index + 1);

    /// <summary>Changes the second byte of SystemFlags. Keeps the arithmetic flags.</summary>
    private void EmitSystemFlag(int operation, int value)
    {
        DestroyFlags();
        _e.StateByteImm(operation, StateOffset.SystemFlags + 1, value);
        EndCheck();
    }

    /// <summary>
    /// STI, unless an interrupt waits for it: then the emulation does it, with its rule that the next instruction comes
    /// first. That holds here because that instruction is in this block, and blocks are left for interrupts at their ends only.
    /// </summary>
    private void EmitSti(in Instruction instruction)
    {
        DestroyFlags();
        _e.CmpStateImm8(StateOffset.InterruptRequested, 0);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JnzCondition), null, (ulong)AddTrap(instruction), _flags));
        _e.StateByteImm(Or, StateOffset.SystemFlags + 1, SecondByteIf);
        EndCheck();
    }

    /// <summary>PUSHF. RF is clear in translated code, and VM outside of virtual-8086 mode.</summary>
    private void EmitPushFlags(int size)
    {
        HostOperand top = Collapse(EmitStackAccess(-size, size, write: true));
        int value = top.FreeScratch;
        NeedFlags(value);
        DestroyFlags(value);
        _e.Byte(0x9C);                          // pushfq, which still finds them
        _e.Pop(value);
        _e.Rr(0x81, And, value, wide: false);
        _e.Dword((int)RflagsBits.Arithmetic);
        _e.Rm(0x0B, value, State, StateOffset.SystemFlags); // or
        EmitStoreSized(top, value, size);
        EmitAdjustStack(-size);
    }

    /// <summary>
    /// POPF at CPL 0 that changes no more than the arithmetic flags, IF and DF, and lets no interrupt in that waits already. Everything
    /// else is for the emulation.
    /// </summary>
    private void EmitPopFlags(in Instruction instruction, int size)
    {
        const int quick = (int)(RflagsBits.If | RflagsBits.Df);
        const int lowWord = (int)(RflagsBits.Tf | RflagsBits.Iopl | RflagsBits.Nt);
        const int others = lowWord | (int)(RflagsBits.Ac | RflagsBits.Id);
        var trap = (ulong)AddTrap(instruction);
        EmitLoadZeroExtended(T1, EmitStackAccess(0, size, write: false), size);
        DestroyFlags();
        _e.Rr(0xF7, 0, T1, wide: false);        // test
        _e.Dword((int)RflagsBits.If);
        byte* masked = _e.ShortForward(0x74);   // jz
        _e.CmpStateImm8(StateOffset.InterruptRequested, 0);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JnzCondition), null, trap, _flags));
        _e.LandShort(masked);
        _e.MovRr(T2, T1);
        _e.Rm(0x33, T2, State, StateOffset.SystemFlags, wide: false); // xor: what changes
        _e.Rr(0xF7, 0, T2, wide: false);        // test
        _e.Dword(size == 2 ? lowWord : others);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JnzCondition), null, trap, _flags));
        _e.Rr(0x81, And, T2, wide: false);
        _e.Dword(quick);
        _e.Rm(0x31, T2, State, StateOffset.SystemFlags, wide: false); // xor
        _e.PutFlags(T1, T2);
        _flags = FlagsAt.Saved;
        EmitAdjustStack(size);
        EndCheck();
    }

    /// <summary>STAC, CLAC: what follows in the block accesses memory with other rights. Keeps flags.</summary>
    private void EmitAccessSwitch(bool allow)
    {
        BlockMode mode = allow ? _mode | BlockMode.SupervisorAc : _mode & ~BlockMode.SupervisorAc;
        if (mode == _mode)
        {
            return;
        }

        _e.LoadState(T1, StateOffset.SystemFlags);
        _e.Lea(T1, T1, allow ? (int)RflagsBits.Ac : -(int)RflagsBits.Ac);
        _e.StoreState(StateOffset.SystemFlags, T1);
        _e.StoreStateImm32(StateOffset.Mode, (uint)mode);
        _mode = mode;

        // A copy would take its jumps' cache from the mode that the block begins with.
        _e.Relocations.GiveUp();
    }

    private void EmitSyscall(in Instruction instruction)
    {
        _e.StoreStateRip(StateOffset.Scratch, _nextRip);
        EmitPrivilegeSwitch(instruction, _thunks.System.Syscall);
    }

    /// <summary>Ends the block. T1 is kept.</summary>
    private void EmitPrivilegeSwitch(in Instruction instruction, byte* thunk)
    {
        NeedFlags();
        _e.StoreStateRip(StateOffset.Rip, _rip);
        EmitTrapIndex(AddTrap(instruction), _rip);
        _e.Jmp(thunk);
        _ended = true;
    }

    /// <summary>Where a control register stands whose value is what was last written to it.</summary>
    private static int? ControlRegister(Register register) => register switch
    {
        Register.CR0 => StateOffset.Cr0,
        Register.CR2 => StateOffset.Cr2,
        Register.CR3 => StateOffset.Cr3,
        Register.CR4 => StateOffset.Cr4,
        _ => null,
    };

    /// <summary>RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. With CR4.FSGSBASE clear, or a new base that is not canonical, the emulation faults.</summary>
    private void EmitSegmentBase(in Instruction instruction)
    {
        int segment = instruction.Mnemonic is Mnemonic.Rdfsbase or Mnemonic.Wrfsbase ? SegmentFs : SegmentGs;
        int field = StateOffset.Segment(segment) + StateOffset.SegmentBase;
        int guest = GuestNumber(instruction.Op0Register);
        int size = instruction.Op0Register.GetSize();
        bool write = instruction.Mnemonic is Mnemonic.Wrfsbase or Mnemonic.Wrgsbase;
        var trap = (ulong)AddTrap(instruction);
        if (write)
        {
            EmitZeroExtend(T1, HostOrLoad(instruction.Op0Register, T1), size);
        }

        DestroyFlags();
        _e.Rm(0xF7, 0, State, StateOffset.Cr4, wide: false); // test
        _e.Dword((int)Cr4Bits.FsGsBase);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JzCondition), null, trap, _flags));
        if (write)
        {
            EmitCanonicalTest(T1);
            _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JaCondition), null, trap, _flags));
            _e.StoreState(field, T1);
        }
        else
        {
            _e.Load(T2, State, field, wide: size == 8);
            EmitWriteGuest(guest, T2, size);
        }

        EndCheck();
    }

    private void EmitSwapGs()
    {
        int gs = StateOffset.Segment(SegmentGs) + StateOffset.SegmentBase;
        _e.LoadState(T1, gs);
        _e.LoadState(T2, StateOffset.KernelGsBase);
        _e.StoreState(gs, T2);
        _e.StoreState(StateOffset.KernelGsBase, T1);
    }
}
