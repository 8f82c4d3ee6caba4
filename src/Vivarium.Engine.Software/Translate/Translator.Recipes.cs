using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software.Translate;

// Which instruction made the flags last, and whether it can be done again (FlagRecipe): then a check of ours need not save them.
internal sealed unsafe partial class Translator
{
    /// <summary>Where it is not known which registers an instruction writes.</summary>
    private const int AllRegisters = 0xFFFF;

    private FlagRecipe _recipe;

    /// <summary>What the present instruction shifts has been put aside, for this recipe.</summary>
    private FlagRecipe _shiftRecipe;

    /// <summary>The present block uses recipes.</summary>
    private bool _usesRecipes;

    /// <summary>Blocks other than loops may use recipes. Constants must stand in one place of the translation only where they may change.</summary>
    private bool UsesRecipes => CodeBits == 64 && !Careful && !_source.ChecksItself && Options.Has(Optimizations.FlagRecipes | Optimizations.LazyFlags);

    /// <summary>An instruction has been translated, which may have made the flags, or changed what they were made from.</summary>
    private void TrackRecipe(in GuestInstruction guest)
    {
        if (!guest.Is(FormKinds.MakesFlags))
        {
            if (_recipe.Exists && _recipe.DependsOn(WrittenBy(_index)))
            {
                LoseRecipe();
            }

            return;
        }

        LoseRecipe();
        FlagRecipe recipe = _shiftRecipe.Exists ? _shiftRecipe
            : guest.Form.Traits.Flags == FlagUse.Replaces && (_source.IsLoop || !IsMovableImmediate(guest)) ? FlagRecipe.Of(guest.Instruction) : default;
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
            int at = Around(from + i);
            ref readonly GuestInstruction guest = ref _guest[at];
            if (i == 0 && guest.Is(FormKinds.MayBeRefused) && MustNotBeRefused)
            {
                return false;
            }

            if (guest.Is(FormKinds.MakesFlags))
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

    /// <summary>Behind a loop's last instruction comes its first.</summary>
    private int Around(int at) => at < _guest.Count ? at : at - _guest.Count;

    /// <summary>
    /// Before an instruction that the host may refuse: the run loop then wants the flags. Recipes are kept for that of loops only, which are
    /// neither copied nor kept on disk. T1 is lost.
    /// </summary>
    private void NeedFlagsIfRefused(in GuestInstruction guest)
    {
        if (guest.Is(FormKinds.MayBeRefused) && (_flags & (FlagsAt.Host | FlagsAt.Saved)) == 0 && MustNotBeRefused)
        {
            NeedFlags(HostRegister.T1);
            Mark(_rip);
        }
    }

    /// <summary>Just before an instruction that the host may refuse: the flags have gone elsewhere since its first mark.</summary>
    private void MarkIfRefused(in GuestInstruction guest, FlagsAt before)
    {
        if (_flags != before && guest.Is(FormKinds.MayBeRefused))
        {
            Mark(_rip);
        }
    }

    /// <summary>The run loop does not know the recipe, or cannot go by it.</summary>
    private bool MustNotBeRefused => !_source.IsLoop || _recipe.IsShift;

    /// <summary>
    /// Before a shift: if a check after it would have to save the flags, what it shifts is put aside instead.
    /// </summary>
    /// <returns>The recipe that is right then; else none.</returns>
    private FlagRecipe PutShiftedAside(in GuestInstruction guestInstruction)
    {
        ref readonly Instruction instruction = ref guestInstruction.Instruction;
        if (!Options.Has(Optimizations.ShiftRecipes) || FlagRecipe.OfShift(instruction) is not { Exists: true } recipe || !IsCheckedBeforeNewFlags())
        {
            return default;
        }

        int guest = GuestNumber(instruction.Op0Register);
        int host = HostRegister.Of(guest) is >= 0 and int own ? own : HeldIn(guest);
        if (host < 0)
        {
            return default;
        }

        _e.StoreState(StateOffset.ShiftedValue, host);
        return recipe;
    }

    /// <summary>After the present instruction, a memory access comes before the next that makes flags.</summary>
    private bool IsCheckedBeforeNewFlags()
    {
        int count = _source.IsLoop ? _guest.Count : _guest.Count - _index;
        for (int i = 1; i < count; i++)
        {
            int at = Around(_index + i);
            ref readonly GuestInstruction guest = ref _guest[at];
            if (guest.Is(FormKinds.Stack | FormKinds.Accesses) && at >= _runEnd && !(_secondRound && HasWindow(at)))
            {
                return true;
            }

            if (guest.Is(FormKinds.MakesFlags))
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

        ref readonly GuestInstruction guest = ref _guest[at];
        return !guest.Is(FormKinds.WritesOperandsOnly) ? AllRegisters
            : guest.Is(FormKinds.Stack) ? guest.Written | (1 << GuestRspNumber)
            : guest.Written;
    }
}
