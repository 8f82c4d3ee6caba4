using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Calls and returns of 64-bit code as calls and returns of the host, which predicts them. On the host's stack, a frame of
// 16 bytes stands for each guest call under way: the host's return address, and above it the complement of the guest's. A return
// goes by the topmost frame if that has the address which the guest returns to, and otherwise looks for the target as
// indirect jumps do. Every exit of translated code drops all frames, so none outlives a change of mode or of mappings.
internal sealed unsafe partial class Translator
{
    /// <summary>
    /// Calls look for requests, as backward jumps do; a return by a frame need not, because each call makes one frame.
    /// A return address that is not canonical is for the run loop.
    /// </summary>
    private bool PairsCalls(ulong returnRip)
        => CodeBits == 64 && !Careful && Options.Has(Optimizations.PairedReturns) && SoftwareVcpu.IsCanonical(returnRip);

    private void EmitCall(in Instruction instruction)
    {
        ulong target = instruction.NearBranchTarget;
        EmitPushNextRip(instruction);
        if (!PairsCalls(_nextRip) || target == _nextRip)
        {
            EmitJump(target);
            return;
        }

        _ended = true;
        EmitCallPoll(ColdKind.Poll, target);
        NeedFlags();
        EmitFrame(_nextRip);
        if (InPage(target))
        {
            EmitLinkable(CallOpcode, target);
        }
        else
        {
            EmitCrossPageJump(target, call: true);
        }

        EmitReturnPoint();
    }

    private void EmitIndirectCall(in Instruction instruction)
    {
        EmitBranchOperand(instruction);
        if (!PairsCalls(_nextRip))
        {
            EmitCanonicalCheck();
            _e.StoreState(StateOffset.Scratch, T1);
            EmitPushNextRip(instruction);
            _e.LoadState(T1, StateOffset.Scratch);
            EmitIndirectJump();
            return;
        }

        // The target's translation first: that an address is known proves it canonical.
        _ended = true;
        _e.StoreState(StateOffset.Rip, T1);
        int jumps = StateOffset.Jumps(_mode.Space());
        DestroyFlags();
        EmitProbe();
        byte* miss = _e.JumpForward(JnzCondition);
        _e.Rx(0x8B, T1, State, T2, 0, jumps + 8);
        _cold.Add(new ColdPart(ColdKind.CallMiss, _rip, miss, _e.Here, 0, _flags));
        EndCheck();
        _e.StoreState(StateOffset.Scratch, T1);
        EmitPushNextRip(instruction);
        EmitCallPoll(ColdKind.PollAtRip, 0);
        NeedFlags();
        EmitFrame(_nextRip);
        _e.Rm(0xFF, 2, State, StateOffset.Scratch, wide: false);
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
        EmitStackAddress(0);
        EmitAccess(SegmentSs, size, read: true, write: false);
        EmitLoadZeroExtended(T1, T1, size);
        int popped = size + (instruction.OpCount == 1 ? instruction.Immediate16 : 0);
        EmitAdjustStack(popped);
        if (size != 8 || !PairsCalls(_rip))
        {
            EmitIndirectJump(popped);
            return;
        }

        _ended = true;
        DestroyFlags();
        _e.Lea(T2, T1, 1);
        _e.Rm(0x03, T2, Rsp, 8);                // add T2, [rsp+8]: RIP + 1 + ~RIP
        _cold.Add(new ColdPart(ColdKind.ReturnMiss, _rip, _e.JumpForward(JnzCondition), null, (ulong)popped, _flags));
        NeedFlags();
        _e.Byte(0xC3);
    }

    /// <summary>Leaves for the run loop if a request is pending, or if there is no room for another frame. RFLAGS are lost.</summary>
    private void EmitCallPoll(ColdKind kind, ulong target)
    {
        const int equal = 4;
        DestroyFlags();
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        _cold.Add(new ColdPart(kind, _rip, _e.JumpForward(JnzCondition), null, target, _flags));
        _e.LoadState(T1, StateOffset.HostStackEnd);
        _e.Rr(0x01, Rsp, T1);                   // add T1, rsp
        _cold.Add(new ColdPart(kind, _rip, _e.JumpForward(equal), null, target, _flags));
    }

    /// <summary>Pushes what goes above the host's return address.</summary>
    private void EmitFrame(ulong returnRip)
    {
        if (Relocations.IsShort(returnRip) && Relocations.IsShort(_source.Rip))
        {
            _e.PushComplement(returnRip);
        }
        else
        {
            _e.MovComplement(T2, returnRip);
            _e.Push(T2);
        }
    }

    /// <summary>Where the host returns to: the guest's frame goes too, and the next block is that behind the call.</summary>
    private void EmitReturnPoint()
    {
        _e.Lea(Rsp, Rsp, 8);
        EmitJumpTo(_nextRip);
    }
}
