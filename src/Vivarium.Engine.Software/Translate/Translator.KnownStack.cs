using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// What a run's check has shown of the stack: accesses through the stack pointer later in the block, with others in between, need no check of
// their own. The run's check covers them too, and leaves host minus guest address in the state block. They are made before
// the vCPU leaves the block, so before it could be told of anything; writes by this are only for a machine with one processor, whose
// write tags nobody else takes away.
internal sealed unsafe partial class Translator
{
    /// <summary>Bytes. More would too often cross a page.</summary>
    private const int WidestKnownStack = 128;

    // From the stack pointer as it is before the instruction; empty if nothing is known.
    private int _knownFrom;
    private int _knownTo;
    private bool _knownWritable;
    private int _knownIndex;
    private AddressSpace _knownSpace;

    private void ForgetKnownStack() => _knownFrom = _knownTo = 0;

    private bool KnowsStack(int from, int to, bool write)
        => from >= _knownFrom && from < to && to <= _knownTo && (_knownWritable || !write) && _mode.Space() == _knownSpace && _makesRuns;

    /// <summary>The instructions before the present one may have moved the stack pointer.</summary>
    private void FollowKnownStack()
    {
        for (; _knownTo != _knownFrom && _knownIndex < _index; _knownIndex++)
        {
            if (TryFollowStack(_guest[_knownIndex], out int by))
            {
                _knownFrom -= by;
                _knownTo -= by;
            }
            else
            {
                ForgetKnownStack();
            }
        }
    }

    /// <summary>How far a check for a run through the stack pointer is to reach for accesses that come later. False: there are none.</summary>
    private bool WidenOverStack(in Run run, ref int from, ref int to)
    {
        bool more = false;
        int moved = 0;
        for (int i = _index; i < _guest.Count; i++)
        {
            ref readonly GuestInstruction guest = ref _guest[i];
            if (i >= run.End && AccessOf(i) is { Base: GuestRspNumber } access)
            {
                int lowest = Math.Min(from, access.Displacement + moved);
                int highest = Math.Max(to, access.Displacement + moved + access.Size);

                // What is not written for certain must not become dirty.
                if ((access.Writes && !(run.Writes && !AlignJumps)) || highest - lowest > Math.Max(WidestKnownStack, run.Highest - run.Lowest))
                {
                    break;
                }

                (from, to, more) = (lowest, highest, true);
            }

            if (!TryFollowStack(guest, out int by))
            {
                break;
            }

            moved += by;
        }

        return more;
    }

    /// <summary>Behind the check for a run: T2 = delta.</summary>
    private void EmitKnownStack(int from, int to, bool writes)
    {
        _e.StoreState(StateOffset.KnownDelta, T2);
        (_knownFrom, _knownTo, _knownWritable, _knownIndex, _knownSpace) = (from, to, writes && !AlignJumps, _index, _mode.Space());
    }

    /// <summary>By how much an instruction moves the stack pointer. False: that is not known, or what comes next in the block may not come next.</summary>
    private static bool TryFollowStack(in GuestInstruction guest, out int by)
    {
        by = 0;
        if (guest.Is(FormKinds.Jumps) && guest.Instruction.FlowControl != FlowControl.ConditionalBranch)
        {
            return false;
        }

        bool writes = guest.Writes(GuestRspNumber);
        if (guest.Is(FormKinds.Stack))
        {
            by = guest.Instruction.StackPointerIncrement;
            return !writes && guest.Form.Mnemonic is Mnemonic.Push or Mnemonic.Pop && by is 8 or -8;
        }

        return !writes || (TryGetStep(guest.Instruction, out int register, out by) && register == GuestRspNumber);
    }
}
