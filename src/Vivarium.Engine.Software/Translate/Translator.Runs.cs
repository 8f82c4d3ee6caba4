using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Runs: instructions in a row that access memory through one register, as programs save and restore registers on their stack
// and read and write a structure. One check covers all: that they lie in one page, which may be accessed so. T2 keeps
// host minus guest address meanwhile. If they do not, the same instructions stand behind the block once more, each with its own check.
internal sealed unsafe partial class Translator
{
    /// <summary>A wider one would too often cross a page.</summary>
    private const int WidestRun = 256;

    private const int GuestRspNumber = 4;

    private sealed class Run
    {
        public int Start;
        public int End;
        public int Base;
        public int Lowest;
        public int Highest;
        public bool Writes;
        public byte* Jump;
        public byte* Resume;
        public FlagsAt FlagsAtStart;
        public FlagRecipe RecipeAtStart;
        public FlagsAt FlagsAtEnd;
    }

    private readonly List<Run> _runs = [];
    private Run? _run;

    private bool InRun => _run is not null;

    private bool MakesRuns => CodeBits == 64 && !Careful && !_source.IsLoop && !_source.ChecksItself && Stops.Count == 0
        && _source.SecondPage == Block.NoPage && Options.Has(Optimizations.SharedChecks | Optimizations.LazyFlags);

    /// <summary>Before an instruction: the present run may have ended, and another may begin.</summary>
    private void BeginOrEndRun()
    {
        if (_run is { } run && _index >= run.End)
        {
            EndRun(run, _e.Here);
        }

        if (_run is null && _index < _guest.Count && MakesRuns && FindRun() is { } found)
        {
            ref readonly Instruction first = ref _guest[_index].Instruction;
            ExtendedKind extended = _traits.Get(first).Extended;
            if (extended != ExtendedKind.None && !EmitExtendedCheck(extended, memory: true))
            {
                return;
            }

            DestroyFlags(check: true);
            _e.Lea(T1, found.Base, found.Lowest);
            found.FlagsAtStart = _flags;
            found.RecipeAtStart = _recipe;
            int size = found.Highest - found.Lowest;
            if (found.Base == GuestRsp && LooksAtStackPage)
            {
                found.Jump = EmitStackPage(size, found.Writes);
            }
            else
            {
                _e.TlbPlace(T2, T1);
                _e.TlbField(0x33, T1, Tlb, T2, NativeTlbEntry.TagOffset(found.Writes)); // xor
                _e.Rr(0x81, CompareRm, T1);
                _e.Dword(4096 - size);
                found.Jump = _e.JumpForward(JaCondition);
                _e.TlbField(0x8B, T2, Tlb, T2, NativeTlbEntry.DeltaOffset);
            }

            _runs.Add(found);
            _run = found;
        }
    }

    private void EndRun(Run run, byte* resume)
    {
        run.Resume = resume;
        run.FlagsAtEnd = _flags;
        _run = null;
    }

    /// <summary>The run that begins with the present instruction, or null.</summary>
    private Run? FindRun()
    {
        int number = -1;
        int end = _index;
        int from = int.MaxValue;
        int to = int.MinValue;
        bool stores = false;
        int moved = 0;
        int accesses = 0;
        for (int i = _index; i < _guest.Count; i++)
        {
            ref readonly Instruction instruction = ref _guest[i].Instruction;
            if (!TryGetAccess(instruction, out int @base, out int displacement, out int size, out bool writes))
            {
                if (accesses == 0 || !IsNeutral(instruction, number, ref moved))
                {
                    break;
                }

                continue;
            }

            if (number >= 0 && @base != number)
            {
                break;
            }

            CodeTraits traits = _traits.Get(instruction);
            if (traits.Extended != ExtendedKind.None && !(_extendedChecked || i == _index))
            {
                break;
            }

            int lowest = Math.Min(from, displacement + moved);
            int highest = Math.Max(to, displacement + moved + size);
            if (highest - lowest > WidestRun)
            {
                break;
            }

            (number, from, to) = (@base, lowest, highest);
            stores |= writes;
            end = i + 1;
            accesses++;
            if (instruction.IsStackInstruction)
            {
                moved += instruction.StackPointerIncrement;
            }
            else if (traits.Writes(0) && instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR() && GuestNumber(instruction.Op0Register) == number)
            {
                break;
            }

            if (instruction.FlowControl != FlowControl.Next)
            {
                break;
            }
        }

        return accesses >= 2 ? new Run { Start = _index, End = end, Base = Of(number), Lowest = from, Highest = to, Writes = stores } : null;
    }

    /// <summary>Whether an instruction accesses memory through one register, in a way that a run can do.</summary>
    /// <param name="base">The guest register.</param>
    private bool TryGetAccess(in Instruction instruction, out int @base, out int displacement, out int size, out bool writes)
    {
        @base = GuestRspNumber;
        displacement = 0;
        size = 8;
        writes = true;
        if (IsMovableImmediate(instruction))
        {
            // The copy's immediate may be another: it is to stand in one place.
            return false;
        }

        switch (instruction.Code)
        {
            case Code.Push_r64:
                displacement = -8;
                return instruction.Op0Register != Register.RSP;
            case Code.Pushq_imm8 or Code.Pushq_imm32:
                displacement = -8;
                return true;
            case Code.Pop_r64:
                writes = false;
                return instruction.Op0Register != Register.RSP;
            case Code.Retnq:
                writes = false;
                return true;
        }

        if (!IsPlain(instruction.Mnemonic) || instruction.HasLockPrefix || !instruction.MemoryBase.IsGPR64() || instruction.MemoryIndex != Register.None
            || MemoryOperand(instruction) < 0 || SegmentOf(instruction) >= SegmentFs || HighByte(instruction) != Register.None || Of(GuestNumber(instruction.MemoryBase)) < 0)
        {
            return false;
        }

        CodeTraits traits = _traits.Get(instruction);
        @base = GuestNumber(instruction.MemoryBase);
        size = instruction.MemorySize.GetSize();
        writes = traits.WritesMemory;
        long far = (long)instruction.MemoryDisplacement64;
        displacement = (int)far;
        return far == displacement && Math.Abs(far) < int.MaxValue / 2 && size is > 0 and <= 32
            && traits.Extended switch { ExtendedKind.None => true, ExtendedKind.Sse => (_mode & BlockMode.Sse) != 0, _ => false };
    }

    /// <summary>Instructions whose translation is one of the host's, with nothing else around it.</summary>
    private static bool IsPlain(Mnemonic mnemonic) => mnemonic is Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd
        or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
        or Mnemonic.Movups or Mnemonic.Movdqu or Mnemonic.Movaps or Mnemonic.Movdqa or Mnemonic.Movq or Mnemonic.Movd or Mnemonic.Movss or Mnemonic.Movsd
        or Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd or Mnemonic.Movhps or Mnemonic.Movlps;

    /// <summary>An instruction between two of a run, that needs no T2 and leaves the run's register alone (or moves the stack pointer by a constant).</summary>
    private bool IsNeutral(in Instruction instruction, int number, ref int moved)
    {
        if (instruction.Mnemonic is not (Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea
            or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test)
            || instruction.Op0Kind != OpKind.Register || !instruction.Op0Register.IsGPR() || HighByte(instruction) != Register.None)
        {
            return false;
        }

        if (instruction.Mnemonic == Mnemonic.Lea)
        {
            return GuestNumber(instruction.Op0Register) != number && instruction.MemoryBase.IsGPR64() && instruction.MemoryIndex == Register.None
                && Of(GuestNumber(instruction.MemoryBase)) >= 0 && instruction.Op0Register.IsGPR64() && Of(GuestNumber(instruction.Op0Register)) >= 0;
        }

        if (MemoryOperand(instruction) >= 0)
        {
            return false;
        }

        bool stack = instruction.Op0Register == Register.RSP && instruction.Mnemonic is Mnemonic.Add or Mnemonic.Sub
            && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64;
        if (stack && number == GuestRspNumber && instruction.Op0Register == Register.RSP)
        {
            long by = (long)instruction.GetImmediate(1);
            if (Math.Abs(by) > WidestRun)
            {
                return false;
            }

            moved += instruction.Mnemonic == Mnemonic.Add ? (int)by : -(int)by;
            return true;
        }

        bool second = instruction.Op1Kind == OpKind.Register;
        return GuestNumber(instruction.Op0Register) != number
            && (!second || instruction.Op1Register.IsGPR())
            && (Of(GuestNumber(instruction.Op0Register)) >= 0 || !second || Of(GuestNumber(instruction.Op1Register)) >= 0);
    }

    /// <summary>The run's instructions once more, each with its own check.</summary>
    private void EmitApart(Run run)
    {
        _e.Land(run.Jump);
        _flags = run.FlagsAtStart;
        _recipe = run.RecipeAtStart;
        _ended = false;
        for (_index = run.Start; _index < run.End; _index++)
        {
            ref readonly GuestInstruction guest = ref _guest[_index];
            _rip = guest.Rip;
            _nextRip = guest.NextRip;
            Mark(_rip);
            EmitTracked(guest);
        }

        if (_ended)
        {
            return;
        }

        if ((run.FlagsAtEnd & FlagsAt.Host) != 0)
        {
            NeedFlags();
        }

        if ((run.FlagsAtEnd & ~_flags & FlagsAt.Saved) != 0)
        {
            _e.SaveFlags(T2);
        }

        _e.Jmp(run.Resume);
    }
}
