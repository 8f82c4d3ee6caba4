using Iced.Intel;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Calls and returns of 64-bit code as calls and returns of the host, which predicts them. On the host's stack, a frame of
// 16 bytes stands for each guest call under way: the host's return address, and above it the guest's. A return
// goes by the topmost frame if that has the address which the guest returns to, and otherwise looks for the target as
// indirect jumps do. Every exit of translated code and every change of privilege level drops all frames, so none outlives
// a change of mode or of mappings. Code that runs with EFLAGS.AC makes and takes no frames: it may have set AC since it
// was called.
internal sealed unsafe partial class Translator
{
    private const int NotAboveCondition = 6;

    /// <summary>Calls look for requests, as backward jumps do; a return by a frame need not, because each call makes one frame.</summary>
    private bool PairsCalls => CodeBits == 64 && !Careful && (_mode & BlockMode.SupervisorAc) == 0 && Options.Has(Optimizations.PairedReturns);

    /// <summary>The return address stays as canonical as it is wherever in memory the block is copied to.</summary>
    private bool PairsCall => PairsCalls && (_nextRip & GuestMemory.PageMask) != 0;

    private void EmitCall(in Instruction instruction)
    {
        ulong target = instruction.NearBranchTarget;
        if (IsBeyondLimit(target))
        {
            EmitExit(ExitCode.Protection);
            return;
        }

        int nextRip = EmitPushNextRip(instruction);
        EmitMovedStack();
        if (!PairsCall || target == _nextRip)
        {
            EmitJump(target);
            return;
        }

        _ended = true;
        EmitCallPoll(ColdKind.Poll, target);
        EmitPushFrame(nextRip);
        if (InPage(target))
        {
            NeedFlags();
            EmitLinkable(CallOpcode, target);
        }
        else if (GoesByRip(target))
        {
            EmitJumpByRip(target, call: true, nextRip);
        }
        else
        {
            EmitCrossPageCall(target, nextRip);
        }

        EmitReturnPoint();
    }

    /// <summary>As <see cref="EmitCrossPageJump"/>, with the flags elsewhere than in RFLAGS.</summary>
    /// <param name="nextRip">As <see cref="EmitPushNextRip"/> returns it.</param>
    private void EmitCrossPageCall(ulong target, int nextRip)
    {
        int entry = NativeJumpCache.DisplacementOf(target, _mode.Space());
        EmitCalledRip(T2, target, _nextRip, nextRip);
        byte* miss = EmitCompareEntry(target, entry);
        FlagsAt flags = _flags;
        NeedFlags();
        _e.Rm(0xFF, 2, State, entry + 8, wide: false); // call [entry.code]
        _e.NoteJumpEntry(RelocationKind.JumpCode, target);
        _cold.Add(new ColdPart(nextRip == T1 ? ColdKind.CrossPageCallMissNear : ColdKind.CrossPageCallMiss, _nextRip, miss, _e.Here, target, flags, recipe: _recipe));
    }

    /// <summary>A register = the target of a direct call.</summary>
    /// <param name="to">The register.</param>
    /// <param name="target">The target.</param>
    /// <param name="next">RIP of the next instruction.</param>
    /// <param name="nextRip">A register that holds it, or -1.</param>
    private void EmitCalledRip(int to, ulong target, ulong next, int nextRip)
    {
        if (nextRip >= 0 && (long)(target - next) is var distance && distance == (int)distance)
        {
            _e.Lea(to, nextRip, (int)distance);
        }
        else
        {
            _e.MovRip(to, target);
        }
    }

    /// <summary>The guest's part of a call's frame. T2 may be lost.</summary>
    /// <param name="nextRip">A register that holds it, or -1.</param>
    private void EmitPushFrame(int nextRip)
    {
        if (nextRip >= 0)
        {
            _e.Push(nextRip);
        }
        else
        {
            _e.PushRip(_nextRip);
        }
    }

    private void EmitIndirectCall(in Instruction instruction)
    {
        EmitBranchOperand(instruction);
        if (!PairsCall)
        {
            int size = OperandSize(instruction);
            EmitTargetCheck(size, popped: 0);
            _e.StoreState(StateOffset.Scratch, T1);
            EmitPushNextRip(instruction);
            _e.LoadState(T1, StateOffset.Scratch);
            EmitIndirectJump(size);
            return;
        }

        // The target's translation first: that an address is known proves it canonical.
        _ended = true;
        _e.StoreState(StateOffset.JumpTarget, T1);
        DestroyFlags(check: true);
        int site = SiteOf(instruction);
        if (site != NoSite)
        {
            int entry = StateOffset.UserSites + site;
            _e.Rm(0x3B, T1, State, entry);      // cmp
            byte* miss = _e.JumpForward(JnzCondition);
            _e.LoadState(T1, entry + 8);
            _cold.Add(new ColdPart(ColdKind.CallSiteMiss, _rip, miss, _e.Here, (ulong)site, _flags, recipe: _recipe));
        }
        else
        {
            EmitProbe();
            byte* miss = _e.JumpForward(JnzCondition);
            FlagsAt flags = _flags;
            _e.Rx(0x8B, T1, State, T2, 0, StateOffset.Jumps(_mode.Space()) + 8);
            _cold.Add(new ColdPart(ColdKind.CallMiss, _rip, miss, _e.Here, 0, flags, recipe: _recipe));
        }

        _e.StoreState(StateOffset.JumpCode, T1);
        EndCheck();
        int nextRip = EmitPushNextRip(instruction);
        EmitCallPoll(ColdKind.PollAtTarget, 0);
        EmitPushFrame(nextRip);
        if (_mode.Space() == AddressSpace.User)
        {
            _e.LoadState(T2, StateOffset.JumpTarget);
            if (site != NoSite)
            {
                EmitCodePageOf(T2);
            }
            else
            {
                _e.StoreState(StateOffset.Rip, T2);
            }
        }

        NeedFlags();
        _e.Rm(0xFF, 2, State, StateOffset.JumpCode, wide: false);
        EmitReturnPoint();
    }

    private void EmitReturn(in Instruction instruction)
    {
        int size = instruction.Code switch
        {
            Code.Retnw or Code.Retnw_imm16 => 2,
            Code.Retnd or Code.Retnd_imm16 => 4,
            _ => 8,
        };
        EmitLoadZeroExtended(T1, EmitStackAccess(0, size, write: false), size);
        int popped = size + (instruction.OpCount == 1 ? instruction.Immediate16 : 0);
        EmitAdjustStack(popped);
        EmitMovedStack();
        if (size != 8 || !PairsCalls)
        {
            EmitIndirectJump(size, popped);
            return;
        }

        _ended = true;
        DestroyFlags(check: true);
        _e.Rm(0x3B, T1, Rsp, 8);                // cmp
        _cold.Add(new ColdPart(ColdKind.ReturnMiss, _rip, _e.JumpForward(JnzCondition), null, (ulong)popped, _flags, recipe: _recipe));
        NeedFlags();
        _e.Byte(0xC3);
    }

    /// <summary>Leaves for the run loop if a request is pending, or if there is no room for another frame. T1 is kept.</summary>
    private void EmitCallPoll(ColdKind kind, ulong target)
    {
        DestroyFlags(check: true);
        _e.Rm(0x3B, Rsp, State, StateOffset.HostStackEnd); // cmp
        _cold.Add(new ColdPart(kind, _rip, _e.JumpForward(NotAboveCondition), null, target, _flags, recipe: _recipe));
    }

    /// <summary>Where the host returns to, T1 = RIP: the guest's frame goes too, and the next block is that behind the call.</summary>
    private void EmitReturnPoint()
    {
        _e.Lea(Rsp, Rsp, 8);
        if (Floating)
        {
            // The call may have ended in the next page.
            _e.Lea(T1, T1, -(int)(_nextRip - (_source.Rip & ~GuestMemory.PageMask)));
            _e.StoreState(StateOffset.CodePage, T1);
        }

        _flags = FlagsAt.Host;
        EmitJumpTo(_nextRip);
    }
}
