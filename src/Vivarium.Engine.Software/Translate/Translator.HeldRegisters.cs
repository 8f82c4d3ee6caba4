using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Guest R12-R15 have no host registers of their own. Between two checks, which need both scratch registers, one of them is held in each: what
// an instruction has written, the next ones take from there, and its slot of the state block is written when the scratch register is wanted for
// something else. Nothing in between can fault or leave the block.
internal sealed unsafe partial class Translator
{
    /// <summary>How many instructions ahead a use is looked for.</summary>
    private const int FurthestHeld = 12;

    private const int NothingHeld = -1;

    private int _heldInT1 = NothingHeld;
    private int _heldInT2 = NothingHeld;

    /// <summary>The slot has an older value.</summary>
    private bool _newInT1;
    private bool _newInT2;

    /// <summary>The present block holds registers.</summary>
    private bool _holdsRegisters;

    private bool HoldsRegisters => CodeBits == 64 && !Careful && !_source.ChecksItself && Options.Has(Optimizations.HeldRegisters | Optimizations.LazyFlags);

    /// <summary>Before the scratch registers are used for something else.</summary>
    private void ForgetHeld()
    {
        Release(T1);
        Release(T2);
    }

    /// <summary>Before a scratch register is used for something else.</summary>
    private void Release(int host)
    {
        ref int guest = ref host == T1 ? ref _heldInT1 : ref _heldInT2;
        ref bool isNew = ref host == T1 ? ref _newInT1 : ref _newInT2;
        if (isNew)
        {
            _e.StoreState(StateOffset.Gpr(guest), host);
        }

        (guest, isNew) = (NothingHeld, false);
    }

    private void Hold(int host, int guest, bool written)
    {
        if (host == T1)
        {
            (_heldInT1, _newInT1) = (guest, _newInT1 | written);
        }
        else
        {
            (_heldInT2, _newInT2) = (guest, _newInT2 | written);
        }
    }

    /// <summary>The scratch register that has the value of a guest register, or -1.</summary>
    private int HeldIn(int guest) => _heldInT1 == guest ? T1 : _heldInT2 == guest ? T2 : -1;

    private bool IsFreeOfHeld(int host) => (host == T1 ? _heldInT1 : _heldInT2) == NothingHeld;

    /// <summary>Before an instruction: does its translation leave alone what is held, but for what it tells of by itself?</summary>
    private void ForgetHeldIfLost(in GuestInstruction guest)
    {
        if ((_heldInT1 & _heldInT2) != NothingHeld && !KeepsHeld(guest, _index))
        {
            ForgetHeld();
        }
    }

    private bool KeepsHeld(in GuestInstruction guest, int at)
    {
        if (guest.Form.Memory >= 0)
        {
            if (guest.Form.Mnemonic == Mnemonic.Lea)
            {
                ref readonly Instruction instruction = ref guest.Instruction;
                return OfGuest(instruction.Op0Register) >= 0 && instruction.Op0Register.GetSize() >= sizeof(uint)
                    && (instruction.MemoryBase == Register.None || (instruction.MemoryBase.IsGPR64() && OfGuest(instruction.MemoryBase) >= 0))
                    && (instruction.MemoryIndex == Register.None || (instruction.MemoryIndex.IsGPR64() && OfGuest(instruction.MemoryIndex) >= 0));
            }

            return at < _runEnd && guest.Is(FormKinds.Plain) && guest.Form.Traits.Extended == ExtendedKind.None;
        }

        return guest.Is(FormKinds.Conditional | FormKinds.Simple) && guest.Form.HasGeneralRegister(0)
            && (guest.Instruction.OpCount < 2 || guest.Instruction.Op1Kind != OpKind.Register || guest.Form.HasGeneralRegister(1));
    }

    /// <summary>One of the next instructions wants what the present one writes to a guest register, and can have it from where it is held.</summary>
    private bool IsWantedSoon(int guest)
    {
        int end = Math.Min(_guest.Count, _index + 1 + FurthestHeld);
        for (int i = _index + 1; i < end; i++)
        {
            ref readonly GuestInstruction next = ref _guest[i];
            if (!KeepsHeld(next, i))
            {
                return false;
            }

            if (!next.Names(guest))
            {
                continue;
            }

            CodeTraits traits = next.Form.Traits;
            if (Reads(next.Instruction, guest, traits))
            {
                return true;
            }

            if (traits.Writes(0) && next.Instruction.Op0Kind == OpKind.Register && GuestNumber(next.Instruction.Op0Register) == guest)
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>An instruction is to have a guest register of the state block in a scratch register, not as its memory operand.</summary>
    private bool IsBetterHeld(int guest, bool written) => _holdsRegisters && (HeldIn(guest) >= 0 || (written && IsWantedSoon(guest)));
}
