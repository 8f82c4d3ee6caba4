using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Runs: instructions in a row that access memory through one register, as programs save and restore registers on their stack
// and read and write a structure. One check covers all: that they lie in one page, which may be accessed so. T2 keeps
// host minus guest address meanwhile, or, of a register that has no place of its own, the host address of what it points to. If they do not, the block is left for one that begins there and has no runs
// (BlockMode.Apart), which is made when it is first wanted.
internal sealed unsafe partial class Translator
{
    /// <summary>A wider one would too often cross a page.</summary>
    private const int WidestRun = 256;

    /// <summary>Where in the data of a cold part the first access of a run is described.</summary>
    private const int RunStartShift = 32;

    private const int GuestRspNumber = 4;

    /// <param name="End">The first instruction behind it.</param>
    /// <param name="Base">The guest register.</param>
    /// <param name="Lowest">Of all accesses, from the register as it is at the beginning.</param>
    /// <param name="Highest">Likewise: the first byte above them.</param>
    /// <param name="Writes">There is a write among them.</param>
    /// <param name="Start">How it begins.</param>
    /// <param name="Accesses">How many; one, if it is of the stack.</param>
    private readonly record struct Run(int End, int Base, int Lowest, int Highest, bool Writes, RunStart Start, int Accesses);

    private Run? _run;

    private bool InRun => _run is not null;

    private bool MakesRuns => CodeBits == 64 && !Careful && !_apart && !_source.ChecksItself && Stops.Count == 0
        && _source.SecondPage == Block.NoPage && Options.Has(Optimizations.SharedChecks | Optimizations.LazyFlags);

    /// <summary>Before an instruction: the present run may have ended, and another may begin.</summary>
    private void BeginOrEndRun()
    {
        FollowKnownStack();
        if (_run is { } run)
        {
            bool ends = _index >= run.End;
            if (ends || WantsStackPointer(_guest[_index].Instruction))
            {
                EmitMovedStack();
            }

            if (ends)
            {
                _run = null;
            }
        }

        if (_run is null && _index < _guest.Count && MakesRuns && FindRun() is { } found)
        {
            ForgetHeld();
            ref readonly Instruction first = ref _guest[_index].Instruction;
            ExtendedKind extended = _traits.Get(first).Extended;
            if (extended != ExtendedKind.None && !EmitExtendedCheck(extended, memory: true))
            {
                return;
            }

            bool byStack = found.Base == GuestRspNumber && !_source.IsLoop && Options.Has(Optimizations.KnownStack);
            if (byStack && KnowsStack(found.Lowest, found.Highest, found.Writes))
            {
                _e.LoadState(T2, StateOffset.KnownDelta);
                _run = found;
                return;
            }

            (int lowest, int highest) = (found.Lowest, found.Highest);
            bool isKnownLater = byStack && WidenOverStack(found, ref lowest, ref highest);
            if (!isKnownLater && found.Accesses < 2)
            {
                return;
            }

            EmitRunCheck(found, lowest, highest);

            if (isKnownLater)
            {
                EmitKnownStack(lowest, highest, found.Writes);
            }

            _run = found;
        }
    }

    /// <summary>T2 = what the accesses of a run are reached by.</summary>
    private void EmitRunCheck(in Run run, int lowest, int highest)
    {
        int size = highest - lowest;
        DestroyFlags(check: true);
        int register = HostOrLoad(run.Base, T1);
        _e.Lea(T1, register, lowest);
        var info = new AccessInfo(size, read: true, run.Writes, SegmentSs, AccessRules.None);
        ulong data = info.Word | ((ulong)run.Start.Below(run.Lowest - lowest).Word << RunStartShift);
        int loopPage = _source.IsLoop ? LoopPage(info, register == T1 ? -1 : register) : -1;
        if (loopPage >= 0 && _secondRound)
        {
            byte* other = EmitLookAtLoopPage(loopPage);
            _cold.Add(new ColdPart(ColdKind.LoopPageOfRun, _rip, other, _e.Here, data | ((ulong)loopPage << LoopPageShift), _flags, _mode.Space(), _recipe));
        }
        else
        {
            if (loopPage >= 0)
            {
                EmitForgetPage(loopPage);
            }

            byte* miss;
            bool onStack = register == GuestRsp && LooksAtStackPage;
            if (onStack)
            {
                miss = EmitStackPage(size, run.Writes);
            }
            else
            {
                _e.TlbPlace(T2, T1);
                _e.TlbField(0x33, T1, Tlb, T2, NativeTlbEntry.TagOffset(run.Writes)); // xor
                _e.Rr(0x81, CompareRm, T1);
                _e.Dword(4096 - size);
                miss = _e.JumpForward(JaCondition);
                _e.TlbField(0x8B, T2, Tlb, T2, NativeTlbEntry.DeltaOffset);
            }

            if (loopPage >= 0)
            {
                EmitNotePage(loopPage, size, HostOrLoad(run.Base, T1), lowest);
            }

            _cold.Add(new ColdPart(onStack ? ColdKind.ResolveRunOnStack : ColdKind.ResolveRun, _rip, miss, _e.Here, data, _flags, _mode.Space(), _recipe));
        }

        if (register == T1)
        {
            _e.Rm(0x03, T2, State, StateOffset.Gpr(run.Base)); // add
        }
    }

    /// <summary>Bytes by which the pushes and pops of the present run have moved the stack pointer, which its register has not been told: none of them can fault.</summary>
    private int _movedStack;

    private void EmitMovedStack()
    {
        if (_movedStack != 0)
        {
            _e.Lea(GuestRsp, GuestRsp, _movedStack);
            _movedStack = 0;
        }
    }

    /// <summary>An instruction of a run that reads the stack pointer otherwise than as a base, or changes it, or that the host may refuse.</summary>
    private bool WantsStackPointer(in Instruction instruction)
    {
        bool named = instruction.Mnemonic == Mnemonic.Lea && instruction.MemoryBase == Register.RSP;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            named |= instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR() && GuestNumber(instruction.GetOpRegister(i)) == GuestRspNumber;
        }

        return named || MayBeRefused(instruction);
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
        int first = 0;
        bool firstWrites = false;
        bool firstAligned = false;
        bool mayNotWrite = false;
        bool extendedBegins = _extendedChecked || _traits.Get(_guest[_index].Instruction).Extended != ExtendedKind.None;
        for (int i = _index; i < _guest.Count; i++)
        {
            ref readonly Instruction instruction = ref _guest[i].Instruction;
            if (!TryGetAccess(instruction, out int @base, out int displacement, out int size, out bool writes) || HasWindow(i))
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
            if (traits.Extended != ExtendedKind.None && !extendedBegins)
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
            mayNotWrite |= !stores && MayFaultBesidesItsPage(instruction, traits, size);
            stores |= writes;
            end = i + 1;
            if (accesses == 0)
            {
                (first, firstWrites, firstAligned) = (displacement + moved, writes, traits.Aligned && size >= 16);
            }

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

        return accesses >= 2 || (accesses == 1 && number == GuestRspNumber)
            ? new Run(end, number, from, to, stores, new RunStart(first - from, firstWrites, firstAligned, mayNotWrite), accesses)
            : null;
    }

    /// <summary>Whether an instruction accesses memory through one register, in a way that a run can do.</summary>
    /// <param name="base">The guest register.</param>
    private bool TryGetAccess(in Instruction instruction, out int @base, out int displacement, out int size, out bool writes)
    {
        @base = GuestRspNumber;
        displacement = 0;
        size = 8;
        writes = true;
        if (IsMovableImmediate(instruction) || (_e.Relocations.Wanted && Relocations.MayBeKernelAddress(instruction.MemoryDisplacement64)))
        {
            // The copy's may be another: it is to stand in one place.
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
            case Code.Call_rel32_64:
                displacement = -8;
                return true;
        }

        if (!IsPlain(instruction.Mnemonic) || instruction.HasLockPrefix || !instruction.MemoryBase.IsGPR64() || instruction.MemoryIndex != Register.None
            || MemoryOperand(instruction) < 0 || SegmentOf(instruction) >= SegmentFs || HighByte(instruction) != Register.None)
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

    /// <summary>An access of a run that may be #GP for its alignment, or #XM for what it works on.</summary>
    private static bool MayFaultBesidesItsPage(in Instruction instruction, CodeTraits traits, int size)
        => (traits.Aligned && size >= 16) || instruction.Mnemonic is Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd;

    /// <summary>Instructions whose translation is one of the host's, with nothing else around it.</summary>
    private static bool IsPlain(Mnemonic mnemonic) => mnemonic is Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd
        or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
        or Mnemonic.Movups or Mnemonic.Movdqu or Mnemonic.Movaps or Mnemonic.Movdqa or Mnemonic.Movq or Mnemonic.Movd or Mnemonic.Movss or Mnemonic.Movsd
        or Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd or Mnemonic.Movhps or Mnemonic.Movlps;

    /// <summary>Instructions on one register, or two, or one and a constant, that run as the host's, beside what is done with flags.</summary>
    private static bool IsSimple(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea
            or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
            or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not => true,
        Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar => instruction.Op1Kind == OpKind.Immediate8,
        Mnemonic.Imul => instruction.OpCount > 1,
        _ => false,
    };

    /// <summary>An instruction between two of a run, that needs no T2 and leaves the run's register alone (or moves the stack pointer by a constant).</summary>
    private bool IsNeutral(in Instruction instruction, int number, ref int moved)
    {
        if (instruction.Mnemonic is Mnemonic.Nop or Mnemonic.Endbr64)
        {
            return true;
        }

        bool conditional = instruction.ConditionCode != ConditionCode.None && instruction.FlowControl == FlowControl.Next; // SETcc, CMOVcc
        if ((!conditional && !IsSimple(instruction))
            || instruction.Op0Kind != OpKind.Register || !instruction.Op0Register.IsGPR() || HighByte(instruction) != Register.None || IsMovableImmediate(instruction))
        {
            return false;
        }

        if (instruction.Mnemonic == Mnemonic.Lea)
        {
            return GuestNumber(instruction.Op0Register) != number && instruction.Op0Register.GetSize() >= sizeof(uint)
                && (instruction.MemoryBase.IsGPR64() || instruction.MemoryBase == Register.RIP)
                && (instruction.MemoryIndex == Register.None || Of(GuestNumber(instruction.MemoryIndex)) >= 0);
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

        bool second = instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Register;
        return GuestNumber(instruction.Op0Register) != number
            && (!second || instruction.Op1Register.IsGPR())
            && (Of(GuestNumber(instruction.Op0Register)) >= 0 || !second || Of(GuestNumber(instruction.Op1Register)) >= 0);
    }
}
