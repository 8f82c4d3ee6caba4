using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// The guest's arithmetic flags as a value with a place. A check of ours destroys RFLAGS: the flags are saved before it,
// unless they are already, and come back only for an instruction that needs them or at the block's end.
internal sealed unsafe partial class Translator
{
    /// <summary>Where the flags are at the point that code is emitted for.</summary>
    private FlagsAt _flags;

    private bool FlagsInHost => (_flags & FlagsAt.Host) != 0;

    /// <summary>What follows destroys RFLAGS. The scratch register is lost.</summary>
    /// <param name="scratch">A register.</param>
    /// <param name="check">It is a check of ours that knows what to do where the flags are by a recipe only.</param>
    private void DestroyFlags(int scratch = T2, bool check = false)
    {
        ForgetHeld();
        if ((_flags & FlagsAt.Saved) == 0 && !((check || _source.IsLoop) && RecipeLasts(_index)))
        {
            NeedFlags(scratch);
            _e.SaveFlags(scratch);

            // The present instruction may change what a recipe is made of, and then ask for the flags.
            _flags = (_flags | FlagsAt.Saved) & ~FlagsAt.Recipe;
        }

        _flags &= ~FlagsAt.Host;
    }

    /// <summary>The flags are in RFLAGS from here on. The scratch register is lost.</summary>
    private void NeedFlags(int scratch = T2)
    {
        if (!FlagsInHost)
        {
            ForgetHeld();
            MakeFlags(_flags, _recipe, scratch);
            _flags |= FlagsAt.Host;
        }
    }

    private void MakeFlags(FlagsAt flags, in FlagRecipe recipe, int scratch)
    {
        if ((flags & FlagsAt.Recipe) != 0)
        {
            recipe.Emit(_e);
        }
        else
        {
            _e.RestoreFlags(scratch);
        }
    }

    /// <summary>After code of ours that has destroyed RFLAGS: without the optimisation, they are put back at once. T2 is lost.</summary>
    private void EndCheck()
    {
        if (!Options.Has(Optimizations.LazyFlags))
        {
            NeedFlags();
            _flags = FlagsAt.Host;
        }
    }

    /// <summary>A guest instruction follows that runs as it is. The scratch register may be lost.</summary>
    private void BeforeInstruction(in Instruction instruction, FlagUse use, int scratch)
    {
        if (MustHaveFlags(instruction, use))
        {
            NeedFlags(scratch);
        }
    }

    /// <summary>The instruction works right only if the flags are in RFLAGS.</summary>
    private static bool MustHaveFlags(in Instruction instruction, FlagUse use)
        => use is FlagUse.Reads or FlagUse.Changes || (use == FlagUse.ReplacesIfCounted && !IsCounted(instruction));

    /// <summary>A guest instruction has run as it is.</summary>
    private void AfterInstruction(FlagUse use)
    {
        if (use is not (FlagUse.None or FlagUse.Reads))
        {
            _flags = FlagsAt.Host;
        }
    }

    /// <summary>A shift whose count, the last operand, is not 0 once masked (SDM vol. 2B, SAL).</summary>
    private static bool IsCounted(in Instruction instruction)
    {
        int mask = instruction.MemorySize.GetSize() == 8 || (instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR64()) ? 63 : 31;
        return ((int)instruction.GetImmediate(instruction.OpCount - 1) & mask) != 0;
    }
}
