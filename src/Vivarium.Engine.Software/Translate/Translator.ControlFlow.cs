using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Near jumps. All of them end the block, as calls and returns do.
internal sealed unsafe partial class Translator
{
    private const int Jrcxz = 0xE3;
    private const int JnzCondition = 5;
    private const int JaCondition = 7;
    private const int NoSite = -1;

    /// <summary>For <see cref="Emitter.JumpForward"/>: CALL instead of JMP.</summary>
    private const int CallOpcode = Emitter.CallCondition;

    /// <summary>True if the instruction was a near transfer of control (and is translated).</summary>
    private bool EmitControlFlow(in Instruction instruction)
    {
        switch (instruction.FlowControl)
        {
            case FlowControl.UnconditionalBranch when instruction.IsJmpShortOrNear:
                _ended = true;
                EmitBranch(instruction.NearBranchTarget);
                return true;
            case FlowControl.ConditionalBranch when instruction.IsJccShortOrNear && NextIsInBlock:
                _hasSideExits = true;
                EmitSideExit((int)instruction.ConditionCode - 1, instruction.NearBranchTarget);
                return true;
            case FlowControl.ConditionalBranch when instruction.IsJccShortOrNear:
                EmitConditional((int)instruction.ConditionCode - 1, instruction.NearBranchTarget);
                return true;
            case FlowControl.ConditionalBranch when instruction.IsJcxShort || IsLoop(instruction):
                EmitCountBranch(instruction);
                return true;
            case FlowControl.IndirectBranch when instruction.IsJmpNearIndirect:
                EmitBranchOperand(instruction);
                EmitIndirectJump(OperandSize(instruction), site: SiteOf(instruction));
                return true;
            case FlowControl.Call when instruction.IsCallNear:
                EmitCall(instruction);
                return true;
            case FlowControl.IndirectCall when instruction.IsCallNearIndirect:
                EmitIndirectCall(instruction);
                return true;
            case FlowControl.Return when instruction.Mnemonic == Mnemonic.Ret:
                EmitReturn(instruction);
                return true;
            default:
                return false;
        }
    }

    private static bool IsLoop(in Instruction instruction) => instruction.Mnemonic is Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne;

    /// <summary>Goes on at a known RIP; ends the block.</summary>
    private void EmitJump(ulong target)
    {
        _ended = true;
        EmitJumpTo(target);
    }

    /// <summary>As <see cref="EmitJumpTo"/>, for the target of a jump: beyond the code segment's limit, the jump itself faults (SDM, JMP).</summary>
    private void EmitBranch(ulong target)
    {
        if (IsBeyondLimit(target))
        {
            NeedFlags();
            EmitExitAt(_rip, ExitCode.Protection);
            return;
        }

        EmitJumpTo(target);
    }

    private bool IsBeyondLimit(ulong target) => CodeBits != 64 && target > _source.CodeLimit;

    private void EmitJumpTo(ulong target)
    {
        if (Careful)
        {
            EmitExitAt(target, ExitCode.CarefulDone);
            return;
        }

        bool near = InPage(target);
        FlagsAt before = _flags;
        if (target <= _rip || !near)
        {
            ReleaseFlags();
        }

        if (target <= _rip)
        {
            EmitPoll(target);
        }

        if (near)
        {
            NeedFlags();
            EmitLinkable(-1, target);
        }
        else if (GoesByRip(target))
        {
            EmitJumpByRip(target, call: false);
        }
        else if (FlagsInHost)
        {
            EmitCrossPageJump(target);
        }
        else
        {
            int entry = NativeJumpCache.DisplacementOf(target, _mode.Space());
            _e.MovRip(T2, target);
            _cold.Add(new ColdPart(ColdKind.CrossPageJumpMiss, _rip, EmitCompareEntry(target, entry), null, target, _flags, recipe: _recipe));
            NeedFlags();
            _e.Rm(0xFF, 4, State, entry + 8, wide: false); // jmp [entry.code]
            _e.NoteJumpEntry(RelocationKind.JumpCode, target);
        }

        // What follows is reached by jumps from before.
        _flags = before;
    }

    /// <summary>On a way out, RFLAGS are used for other things if the flags can be made again: nothing that they are made from changes there.</summary>
    private void ReleaseFlags()
    {
        if ((_flags & FlagsAt.Recipe) != 0)
        {
            _flags &= ~FlagsAt.Host;
        }
    }

    /// <summary>Compares the RIP in T2, which is lost, with that of a jump cache entry. Returns the jump to be landed where it is another.</summary>
    private byte* EmitCompareEntry(ulong target, int entry)
    {
        _e.Rm(0x03, T2, State, entry);          // add: zero if it is this RIP
        _e.NoteJumpEntry(RelocationKind.JumpEntry, target);
        return _e.JumpForward(JnzCondition);
    }

    /// <summary>JMP (-1), CALL or Jcc to a block in this page: to its own stub until the run loop links it.</summary>
    private void EmitLinkable(int condition, ulong target)
    {
        if (AlignJumps)
        {
            _e.AlignDisplacement(condition);
        }

        byte* jump = _e.JumpForward(condition);
        _cold.Add(new ColdPart(ColdKind.Link, _rip, jump, null, target));
    }

    /// <summary>
    /// True if the target is in the same linear page, whose mapping the running block proves, and so is the whole
    /// instruction there: what crosses pages is looked up each time.
    /// </summary>
    private bool InPage(ulong target)
    {
        ulong linear = _source.Linear + (target - _source.Rip);
        if (CodeBits != 64)
        {
            linear = (uint)linear;
        }

        return _source.SecondPage == Block.NoPage && (linear & GuestMemory.PageMask) <= GuestMemory.PageSize - GuestCode.MaxInstructionBytes
            && ((linear ^ _source.Linear) & ~GuestMemory.PageMask) == 0;
    }

    /// <summary>Leaves for the run loop, to go on at <paramref name="target"/>, if a request is pending. Keeps flags.</summary>
    private void EmitPoll(ulong target)
    {
        if (!FlagsInHost)
        {
            _e.CmpStateImm8(StateOffset.ExitRequest, 0);
            _cold.Add(new ColdPart(ColdKind.Poll, _rip, _e.JumpForward(JnzCondition), null, target, _flags, recipe: _recipe));
            return;
        }

        _e.MovRr(T1, Rcx);
        _e.LoadState(Rcx, StateOffset.ExitRequest);
        byte* none = _e.ShortForward(Jrcxz);
        byte* request = _e.JumpForward(-1);
        _e.LandShort(none);
        _e.MovRr(Rcx, T1);
        _cold.Add(new ColdPart(ColdKind.PollKeepingFlags, _rip, request, null, target));
    }

    /// <summary>Another page may be mapped differently next time, so the jump cache (emptied with the TLB) is asked. Keeps flags.</summary>
    private void EmitCrossPageJump(ulong target)
    {
        int entry = NativeJumpCache.DisplacementOf(target, _mode.Space());
        bool small = IsSmall(target);
        if (!small)
        {
            _e.MovRip(T2, target);
        }

        _e.MovRr(T1, Rcx);
        _e.LoadState(Rcx, entry);
        _e.NoteJumpEntry(RelocationKind.JumpEntry, target);
        if (small)
        {
            _e.LeaRip(Rcx, Rcx, target);
        }
        else
        {
            _e.Rx(0x8D, Rcx, Rcx, T2, 0, 0);
        }

        byte* hit = _e.ShortForward(Jrcxz);
        byte* miss = _e.JumpForward(-1);
        _e.LandShort(hit);
        _e.MovRr(Rcx, T1);
        _e.Rm(0xFF, 4, State, entry + 8, wide: false);  // jmp [entry.code]
        _e.NoteJumpEntry(RelocationKind.JumpCode, target);
        _cold.Add(new ColdPart(ColdKind.Miss, _rip, miss, null, target));
    }

    /// <summary>A cross-page jump has its target's RIP as a displacement; else it is in T2.</summary>
    private bool IsSmall(ulong target) => Relocations.IsShort(target) && Relocations.IsShort(_source.Rip);

    /// <summary>Where this block or the target float, their RIPs are known only when they run.</summary>
    private bool GoesByRip(ulong target) => Floating || Options.Floats(_mode, target);

    /// <summary>As <see cref="EmitCrossPageJump"/>, where RIP is known only when it runs.</summary>
    /// <param name="target">Where to.</param>
    /// <param name="call">With the host's part of a call's frame.</param>
    /// <param name="nextRip">As <see cref="EmitPushNextRip"/> returns it.</param>
    private void EmitJumpByRip(ulong target, bool call, int nextRip = -1)
    {
        EmitCalledRip(T1, target, _nextRip, nextRip);
        if (GoesBySite)
        {
            EmitJumpBySite(target, call);
            return;
        }

        _e.StoreState(StateOffset.Rip, T1);
        if (FlagsInHost)
        {
            DestroyFlags(check: true);
        }

        EmitProbe();
        byte* miss = _e.JumpForward(JnzCondition);
        FlagsAt flags = _flags;
        NeedFlags(T1);
        _e.Rx(0xFF, call ? 2 : 4, State, T2, 0, StateOffset.Jumps(_mode.Space()) + 8, wide: false);
        _cold.Add(new ColdPart(ColdKind.MissByRip, _rip, miss, call ? _e.Here : null, target, flags, recipe: _recipe));
    }

    private bool GoesBySite => Floating && Options.Has(Optimizations.JumpSites);

    /// <summary>As <see cref="EmitJumpByRip"/>, with the target in T1: it floats, or the site's entry does not know it.</summary>
    private void EmitJumpBySite(ulong target, bool call)
    {
        int entry = StateOffset.UserSites + NativeJumpSites.PlaceOf(_rip, target);
        if (FlagsInHost)
        {
            DestroyFlags(check: true);
        }

        _e.Rm(0x3B, T1, State, entry);          // cmp
        byte* miss = _e.JumpForward(JnzCondition);
        FlagsAt flags = _flags;
        _e.LeaFar(T1, T1, -(int)(target & GuestMemory.PageMask));
        _e.StoreState(StateOffset.CodePage, T1);
        NeedFlags(T1);
        _e.Rm(0xFF, call ? 2 : 4, State, entry + 8, wide: false);
        _cold.Add(new ColdPart(ColdKind.SiteMiss, _rip, miss, call ? _e.Here : null, target, flags, recipe: _recipe));
    }

    /// <summary>Goes on at the RIP in T1; ends the block. Keeps flags.</summary>
    /// <param name="size">Bytes of the target.</param>
    /// <param name="popped">What the instruction has added to the stack pointer: taken back if the target is refused.</param>
    /// <param name="site">As <see cref="SiteOf"/> returns it.</param>
    private void EmitIndirectJump(int size, int popped = 0, int site = NoSite)
    {
        _ended = true;
        if (site != NoSite)
        {
            EmitJumpAtSite(site);
            return;
        }

        if (Careful || CodeBits != 64)
        {
            EmitTargetCheck(size, popped);
        }

        _e.StoreState(StateOffset.Rip, T1);
        if (Careful)
        {
            NeedFlags();
            EmitExitTail(ExitCode.CarefulDone);
            return;
        }

        int jumps = StateOffset.Jumps(_mode.Space());
        DestroyFlags(check: true);
        EmitProbe();
        _cold.Add(new ColdPart(ColdKind.AsNext, _rip, _e.JumpForward(JnzCondition), null));
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        _cold.Add(new ColdPart(ColdKind.IndirectMiss, _rip, _e.JumpForward(JnzCondition), null, (ulong)popped, _flags, recipe: _recipe));
        NeedFlags(T1);
        _e.Rx(0xFF, 4, State, T2, 0, jumps + 8, wide: false);
    }

    /// <summary>
    /// The place of the entry that tells where an indirect jump or call of a 64-bit program went last (<see cref="NativeJumpSites"/>), or <see cref="NoSite"/>:
    /// jumps through registers and what goes through a table, as interpreters and switches do, go elsewhere each time.
    /// </summary>
    private int SiteOf(in Instruction instruction)
    {
        if (!Options.Has(Optimizations.InlineCaches) || Careful || CodeBits != 64 || _mode.Space() != AddressSpace.User)
        {
            return NoSite;
        }

        bool call = instruction.FlowControl == FlowControl.IndirectCall;
        bool register = instruction.Op0Kind == OpKind.Register;
        bool relative = !register && instruction.MemoryBase == Register.RIP;
        if (call ? !register && instruction.MemoryIndex != Register.None : !relative)
        {
            return NoSite;
        }

        // A far operand may be any in a copy. Stubs that lead to libraries differ in what they read only.
        bool tells = relative && !Relocations.IsFarOperand(_rip, instruction.IPRelativeMemoryAddress);
        return NativeJumpSites.PlaceOf(_rip, tells ? instruction.IPRelativeMemoryAddress : _source.Rip);
    }

    /// <summary>As <see cref="EmitIndirectJump"/>, by the site's entry if it knows the target.</summary>
    private void EmitJumpAtSite(int site)
    {
        int entry = StateOffset.UserSites + site;
        DestroyFlags(check: true);
        _e.Rm(0x3B, T1, State, entry);          // cmp
        _cold.Add(new ColdPart(ColdKind.IndirectSiteMiss, _rip, _e.JumpForward(JnzCondition), null, (ulong)site, _flags, recipe: _recipe));
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        _cold.Add(new ColdPart(ColdKind.IndirectRequest, _rip, _e.JumpForward(JnzCondition), null, 0, _flags, recipe: _recipe));
        EmitCodePageOf(T1);
        NeedFlags(T1);
        _e.Rm(0xFF, 4, State, entry + 8, wide: false);
    }

    /// <summary>The page of the RIP in a register, which is lost, is the one that runs. RFLAGS are lost.</summary>
    private void EmitCodePageOf(int register)
    {
        _e.Rr(0x81, 4, register);               // and
        _e.Dword(-(int)GuestMemory.PageSize);
        _e.StoreState(StateOffset.CodePage, register);
    }

    /// <summary>T2 = where in the jump cache the RIP in T1 would stand; T1 and ZF become zero if it does.</summary>
    private void EmitProbe()
    {
        _e.JumpPlace(T2, T1, _mode.Space());
        _e.Rx(0x03, T1, State, T2, 0, StateOffset.Jumps(_mode.Space())); // add T1, [entry]
    }

    /// <summary>The target in T1 is refused if it is not canonical or, outside 64-bit code, beyond the code segment's limit (SDM, JMP and CALL).</summary>
    private void EmitTargetCheck(int size, int popped)
    {
        if (CodeBits == 64)
        {
            DestroyFlags();
            EmitCanonicalTest(T1);
        }
        else
        {
            if (_source.CodeLimit >= (size == 2 ? ushort.MaxValue : uint.MaxValue))
            {
                return;
            }

            DestroyFlags();
            _e.Rr(0x81, 7, T1, wide: false);    // cmp
            _e.Dword((int)_source.CodeLimit);
        }

        _cold.Add(new ColdPart(ColdKind.RefusedTarget, _rip, _e.JumpForward(JaCondition), null, (ulong)popped, _flags, recipe: _recipe));
        EndCheck();
    }

    /// <summary>Sets the flags so that JA jumps if the address in a register is not canonical: bits 63:47 are neither all 0 nor all 1. T2 is lost.</summary>
    private void EmitCanonicalTest(int register)
    {
        _e.MovRr(T2, register);
        _e.Rr(0xC1, 7, T2);                     // sar T2, 47
        _e.Byte(47);
        _e.Rr(0x83, 0, T2);                     // add T2, 1
        _e.Byte(1);
        _e.Rr(0x83, 7, T2);                     // cmp T2, 1
        _e.Byte(1);
    }

    private void EmitConditional(int condition, ulong target)
    {
        _ended = true;
        NeedFlags();
        if (!Careful && InPage(target) && target > _rip && !IsBeyondLimit(target))
        {
            EmitLinkable(condition, target);
        }
        else
        {
            byte* notTaken = _e.JumpForward(condition ^ 1);
            EmitBranch(target);
            _e.Land(notTaken);
        }

        EmitJumpTo(_nextRip);
    }

    /// <summary>LOOPcc and JrCXZ for each size of the count register; they keep flags.</summary>
    private void EmitCountBranch(in Instruction instruction)
    {
        _ended = true;
        NeedFlags();

        // They may be made from the count.
        LoseRecipe();
        int size = CountSize(instruction.Code);
        byte* notTaken = null;
        if (IsLoop(instruction))
        {
            EmitCount(-1, size);
            if (instruction.Mnemonic != Mnemonic.Loop)
            {
                notTaken = _e.JumpForward(instruction.Mnemonic == Mnemonic.Loope ? 5 : 4);
            }
        }

        _e.MovRr(T1, Rcx);
        if (size == 4)
        {
            _e.Mov32Rr(Rcx, Rcx);
        }
        else if (size == 2)
        {
            _e.Rr(0x0FB7, Rcx, Rcx, wide: false);
        }

        byte* zero = _e.ShortForward(Jrcxz);
        _e.MovRr(Rcx, T1);
        byte* nonzero = _e.JumpForward(-1);
        _e.LandShort(zero);
        _e.MovRr(Rcx, T1);
        if (IsLoop(instruction))
        {
            byte* fallThrough = _e.JumpForward(-1);
            _e.Land(nonzero);
            if (IsBeyondLimit(instruction.NearBranchTarget))
            {
                EmitCount(1, size);
            }

            EmitBranch(instruction.NearBranchTarget);
            _e.Land(fallThrough);
            if (notTaken != null)
            {
                _e.Land(notTaken);
            }
        }
        else
        {
            EmitBranch(instruction.NearBranchTarget);
            _e.Land(nonzero);
        }

        EmitJumpTo(_nextRip);
    }

    /// <summary>Adds to the count register, in its size. T2 is lost.</summary>
    private void EmitCount(int by, int size)
    {
        _e.Lea(T2, Rcx, by, wide: size == 8);
        if (size == 2)
        {
            Emit16(0x89, T2, Rcx);              // mov cx, T2w
        }
        else
        {
            _e.MovRr(Rcx, T2);                  // Lea has zero-extended
        }
    }

    private static int CountSize(Code code) => code switch
    {
        Code.Loopne_rel8_16_CX or Code.Loopne_rel8_32_CX or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX
            or Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 => 2,
        Code.Loopne_rel8_16_RCX or Code.Loopne_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loope_rel8_64_RCX
            or Code.Loop_rel8_16_RCX or Code.Loop_rel8_64_RCX or Code.Jrcxz_rel8_16 or Code.Jrcxz_rel8_64 => 8,
        _ => 4,
    };

    /// <summary>T1 = the target of an indirect near JMP or CALL.</summary>
    private void EmitBranchOperand(in Instruction instruction)
    {
        int size = OperandSize(instruction);
        if (instruction.Op0Kind == OpKind.Register)
        {
            int guest = GuestNumber(instruction.Op0Register);
            int host = Of(guest);
            if (host < 0)
            {
                _e.LoadState(T1, StateOffset.Gpr(guest));
                host = T1;
            }

            EmitZeroExtend(T1, host, size);
            return;
        }

        AccessRules rules = instruction.FlowControl == FlowControl.IndirectCall ? AccessRules.BeforeWrite : AccessRules.None;
        EmitLoadZeroExtended(T1, EmitMemory(instruction, size, read: true, write: false, rules), size);
    }

    private static int OperandSize(in Instruction instruction)
        => instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.GetSize() : instruction.MemorySize.GetSize();

    /// <summary>Pushes the return address. Returns a register that holds it, or -1.</summary>
    private int EmitPushNextRip(in Instruction instruction)
        => EmitPushImmediate(-instruction.StackPointerIncrement, instruction.NextIP, isRip: true);

    private void EmitZeroExtend(int to, int from, int size)
    {
        switch (size)
        {
            case 2:
                _e.Rr(0x0FB7, to, from, wide: false);
                break;
            case 4:
                _e.Mov32Rr(to, from);
                break;
            default:
                _e.MovRr(to, from);
                break;
        }
    }

    private void EmitLoadZeroExtended(int to, in HostOperand operand, int size)
        => _e.Op(size == 2 ? 0x0FB7 : 0x8B, to, operand, wide: size == 8);

    /// <summary>A 16-bit register-to-register instruction.</summary>
    private void Emit16(int opcode, int reg, int rm)
    {
        _e.Byte(0x66);
        _e.Rr(opcode, reg, rm, wide: false);
    }
}
