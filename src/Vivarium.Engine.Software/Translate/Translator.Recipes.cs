using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software.Translate;

// Which instruction made the flags last, and whether it can be done again (FlagRecipe): then a check of ours need not save them.
internal sealed unsafe partial class Translator
{
    /// <summary>Where it is not known which registers an instruction writes.</summary>
    private const int AllRegisters = 0xFFFF;

    private FlagRecipe _recipe;

    /// <summary>What the present instruction shifts has been put aside, for this recipe.</summary>
    private FlagRecipe _shiftRecipe;

    /// <summary>Blocks other than loops may use recipes. Constants must stand in one place of the translation only where they may change.</summary>
    private bool UsesRecipes => CodeBits == 64 && !Careful && !_source.ChecksItself && Options.Has(Optimizations.FlagRecipes | Optimizations.LazyFlags);

    /// <summary>An instruction has been translated, which may have made the flags, or changed what they were made from.</summary>
    private void TrackRecipe(in Instruction instruction)
    {
        if (!MakesFlags(instruction))
        {
            if (_recipe.Exists && _recipe.DependsOn(WrittenBy(_index)))
            {
                LoseRecipe();
            }

            return;
        }

        LoseRecipe();
        FlagRecipe recipe = _shiftRecipe.Exists ? _shiftRecipe : _traits.Get(instruction).Flags == FlagUse.Replaces && (_source.IsLoop || !IsMovableImmediate(instruction)) ? FlagRecipe.Of(instruction) : default;
        if (recipe.Exists && FlagsInHost)
        {
            _recipe = recipe;
            _flags |= FlagsAt.Recipe;
        }
    }

    private void LoseRecipe()
    {
        _recipe = default;
        _flags &= ~FlagsAt.Recipe;
        if (_flags == FlagsAt.Nowhere && !_ended)
        {
            throw new InvalidOperationException("the flags are lost");
        }
    }

    /// <summary>
    /// The flags can be made again until an instruction makes new ones, or the block ends: none before it changes what they are made from.
    /// </summary>
    /// <param name="from">The first instruction that matters.</param>
    private bool RecipeLasts(int from)
    {
        if ((_flags & FlagsAt.Recipe) == 0)
        {
            return false;
        }

        int count = _source.IsLoop ? _guest.Count : _guest.Count - from;
        for (int i = 0; i < count; i++)
        {
            int at = (from + i) % _guest.Count;
            ref readonly Instruction instruction = ref _guest[at].Instruction;
            if (i == 0 && MustNotBeRefused && MayBeRefused(instruction))
            {
                return false;
            }

            if (MakesFlags(instruction))
            {
                return true;
            }

            if (_recipe.DependsOn(WrittenBy(at)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Ordinary instructions: what is said of others, as that MOV from CR0 leaves flags undefined, is not so where they are emulated.</summary>
    private bool MakesFlags(in Instruction instruction)
        => _traits.Get(instruction).Flags is not (FlagUse.None or FlagUse.Reads) && PrivilegedTable.Find(instruction) == null;

    /// <summary>
    /// The host may refuse the instruction, and the run loop then wants the flags. Recipes are kept for that of loops only, which are
    /// neither copied nor kept on disk.
    /// </summary>
    private bool MayBeRefused(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv || _traits.Get(instruction).Extended != ExtendedKind.None;

    /// <summary>Before an instruction that the host may refuse. T1 is lost.</summary>
    private void NeedFlagsIfRefused(in Instruction instruction)
    {
        if (MustNotBeRefused && (_flags & (FlagsAt.Host | FlagsAt.Saved)) == 0 && MayBeRefused(instruction))
        {
            NeedFlags(HostRegister.T1);
            Mark(_rip);
        }
    }

    /// <summary>The run loop does not know the recipe, or cannot go by it.</summary>
    private bool MustNotBeRefused => !_source.IsLoop || _recipe.IsShift;

    /// <summary>
    /// Before an instruction: if it is a shift, after which a check would have to save the flags, what it shifts is put aside instead.
    /// </summary>
    private void PutShiftedAside(in Instruction instruction)
    {
        _shiftRecipe = default;
        if (instruction.Mnemonic is not (Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar) || !Options.Has(Optimizations.ShiftRecipes)
            || FlagRecipe.OfShift(instruction) is not { Exists: true } recipe || !IsCheckedBeforeNewFlags())
        {
            return;
        }

        int guest = GuestNumber(instruction.Op0Register);
        int host = HostRegister.Of(guest) is >= 0 and int own ? own : HeldIn(guest);
        if (host >= 0)
        {
            _e.StoreState(StateOffset.ShiftedValue, host);
            _shiftRecipe = recipe;
        }
    }

    /// <summary>After the present instruction, a memory access comes before the next that makes flags.</summary>
    private bool IsCheckedBeforeNewFlags()
    {
        int count = _source.IsLoop ? _guest.Count : _guest.Count - _index;
        for (int i = 1; i < count; i++)
        {
            int at = (_index + i) % _guest.Count;
            ref readonly Instruction instruction = ref _guest[at].Instruction;
            bool isCheck = instruction.IsStackInstruction || (MemoryOperand(instruction) >= 0 && instruction.Mnemonic is not (Mnemonic.Lea or Mnemonic.Nop));
            if (isCheck && !(_run is { } run && at < run.End) && !(_secondRound && HasWindow(at)))
            {
                return true;
            }

            if (MakesFlags(instruction))
            {
                return false;
            }
        }

        return false;
    }

    /// <summary>The general registers that an instruction writes, by number: these, or more.</summary>
    private int WrittenBy(int at)
    {
        if (_source.IsLoop)
        {
            return _written[at];
        }

        ref readonly Instruction instruction = ref _guest[at].Instruction;
        if (!WritesOperandsOnly(instruction))
        {
            return AllRegisters;
        }

        CodeTraits traits = _traits.Get(instruction);
        int written = instruction.IsStackInstruction ? 1 << GuestRspNumber : 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR() && traits.Writes(i))
            {
                written |= 1 << GuestNumber(instruction.GetOpRegister(i));
            }
        }

        return written;
    }

    /// <summary>Common instructions that write no general register but by an operand, or the stack pointer.</summary>
    private static bool WritesOperandsOnly(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea or Mnemonic.Push or Mnemonic.Pop or Mnemonic.Not
            or Mnemonic.Bswap or Mnemonic.Movbe or Mnemonic.Nop or Mnemonic.Rorx or Mnemonic.Shlx or Mnemonic.Shrx or Mnemonic.Sarx => true,
        Mnemonic.Movups or Mnemonic.Movaps or Mnemonic.Movdqu or Mnemonic.Movdqa or Mnemonic.Movss or Mnemonic.Movq or Mnemonic.Movd
            or Mnemonic.Vmovups or Mnemonic.Vmovaps or Mnemonic.Vmovdqu or Mnemonic.Vmovdqa or Mnemonic.Vzeroupper
            or Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd or Mnemonic.Pxor or Mnemonic.Xorps => true,
        Mnemonic.Movsd => !instruction.IsStringInstruction,
        Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret => instruction.FlowControl is not FlowControl.Next && !instruction.IsJmpFar && !instruction.IsJmpFarIndirect
            && !instruction.IsCallFar && !instruction.IsCallFarIndirect,
        _ => instruction.IsJccShortOrNear || (instruction.ConditionCode != ConditionCode.None && instruction.FlowControl == FlowControl.Next),
    };
}
