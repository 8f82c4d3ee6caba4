using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Loops that run long are translated once more, as one block: from the head to the jump back to it, past the conditional
// jumps in between, which leave it. The body stands there twice. The first round begins with nothing known, as every
// block does; the second begins with what the first one knows at its end, and goes on to itself. Where the last
// instruction that made flags can be done again (FlagRecipe), a check need not save them.
internal sealed unsafe partial class Translator
{
    /// <summary>Longer ones gain less.</summary>
    private const int MaxLoopInstructions = 48;

    private readonly InstructionInfoFactory _uses = new();
    private readonly ushort[] _written = new ushort[MaxLoopInstructions];
    private bool _secondRound;
    private byte* _loopHead;
    private FlagsAt _flagsAtHead;

    /// <summary>
    /// Decodes from the source's first instruction to a jump back to it. False if there is none, or something on the way
    /// that is not for such a block.
    /// </summary>
    private bool DecodeLoop()
    {
        _guest.Start(CodeBits, _source.Rip, _source.Bytes, _source.Length);
        while (_guest.Count < MaxLoopInstructions && _guest.TryDecode())
        {
            int at = _guest.Count - 1;
            ref readonly Instruction last = ref _guest[at].Instruction;
            if (_guest[at].Form.Offering == Offering.Undefined || _guest[at].Is(FormKinds.Emulated) || last.IsStringInstruction || Stops.Contains(_guest[at].Rip)
                || last.Mnemonic is Mnemonic.Rdtsc or Mnemonic.Rdtscp)
            {
                return false;
            }

            _written[at] = WrittenRegisters(last);
            switch (last.FlowControl)
            {
                case FlowControl.Next:
                    break;
                case FlowControl.ConditionalBranch when last.IsJccShortOrNear:
                    if (last.NearBranchTarget == _source.Rip)
                    {
                        return true;
                    }

                    break;
                case FlowControl.UnconditionalBranch when last.IsJmpShortOrNear:
                    return last.NearBranchTarget == _source.Rip;
                default:
                    return false;
            }
        }

        return false;
    }

    private ushort WrittenRegisters(in Instruction instruction)
    {
        int written = 0;
        foreach (UsedRegister used in _uses.GetInfo(instruction, InstructionInfoOptions.NoMemoryUsage).GetUsedRegisters())
        {
            if (used.Register.IsGPR() && used.Access is not (OpAccess.Read or OpAccess.CondRead))
            {
                written |= 1 << GuestNumber(used.Register);
            }
        }

        return (ushort)written;
    }

    /// <summary>One instruction of a loop, the last of which jumps to the first.</summary>
    private void EmitInLoop(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        if (_index == _guest.Count - 1)
        {
            ForgetHeld();
            EmitLoopEnd(instruction);
            return;
        }

        if (instruction.FlowControl == FlowControl.ConditionalBranch)
        {
            EmitSideExit((int)instruction.ConditionCode - 1, instruction.NearBranchTarget);
            return;
        }

        EmitTracked(guest);
    }

    /// <summary>A conditional jump that the loop goes on behind.</summary>
    private void EmitSideExit(int condition, ulong target)
    {
        ForgetHeld();
        NeedFlags();
        if (InPage(target) && target > _rip)
        {
            EmitLinkable(condition, target);
            return;
        }

        byte* stays = _e.JumpForward(condition ^ 1);
        FlagsAt flags = _flags;
        EmitJumpTo(target);
        _flags = flags;
        _e.Land(stays);
    }

    /// <summary>The jump to the head: on to the second round, or again into it.</summary>
    private void EmitLoopEnd(in Instruction branch)
    {
        if (branch.FlowControl == FlowControl.ConditionalBranch)
        {
            EmitSideExit(((int)branch.ConditionCode - 1) ^ 1, _nextRip);
        }

        FlagsAt wanted = _secondRound ? _flagsAtHead : RecipeLasts(0) ? FlagsAt.Recipe : DestroysFlags() ? FlagsAt.Saved : FlagsAt.Host;
        if (wanted == FlagsAt.Recipe && !RecipeLasts(0))
        {
            _ended = true;
            EmitJumpTo(_source.Rip);
            return;
        }

        if (wanted == FlagsAt.Host)
        {
            NeedFlags();
        }
        else
        {
            if (wanted == FlagsAt.Saved && (_flags & FlagsAt.Saved) == 0)
            {
                NeedFlags();
                _e.SaveFlags(T2);
                _flags |= FlagsAt.Saved;
            }

            _flags = wanted;
        }

        if (_secondRound)
        {
            _ended = true;
            EmitNextRound();
            return;
        }

        EmitPoll(_source.Rip);
        EmitCloseWindows();
        _flags = _flagsAtHead = wanted;
        _secondRound = true;
        _loopHead = _e.Here;
        EmitCheckWindows();
        _index = -1;
        _nextRip = _source.Rip;
    }

    /// <summary>Back to the second round's head, unless a request is pending.</summary>
    private void EmitNextRound()
    {
        if (FlagsInHost)
        {
            EmitPoll(_source.Rip);
            _e.Jmp(_loopHead);
            return;
        }

        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        _e.Jcc(JzCondition, _loopHead);
        _cold.Add(new ColdPart(ColdKind.Poll, _rip, _e.JumpForward(-1), null, _source.Rip, _flags, recipe: _recipe));
    }

    /// <summary>Something in the loop uses RFLAGS for a check.</summary>
    private bool DestroysFlags()
    {
        for (int i = 0; i < _guest.Count; i++)
        {
            if (_guest[i].Form.Memory >= 0 || _guest[i].Is(FormKinds.Stack))
            {
                return true;
            }
        }

        return false;
    }
}
