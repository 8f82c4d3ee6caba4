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

    /// <summary>The first instruction behind the present run; 0 if there is none.</summary>
    private int _runEnd;

    private bool InRun => _runEnd != 0;

    /// <summary>The present block makes runs.</summary>
    private bool _makesRuns;

    private bool MakesRuns => CodeBits == 64 && !Careful && !_apart && !_source.ChecksItself && Stops.Count == 0
        && _source.SecondPage == Block.NoPage && Options.Has(Optimizations.SharedChecks | Optimizations.LazyFlags);

    /// <summary>Before an instruction: the present run may have ended, and another may begin.</summary>
    private void BeginOrEndRun()
    {
        FollowKnownStack();
        if (InRun)
        {
            bool ends = _index >= _runEnd;
            if (ends || WantsStackPointer(_guest[_index]))
            {
                EmitMovedStack();
            }

            if (ends)
            {
                _runEnd = 0;
            }
        }

        if (!InRun && _makesRuns && _index < _guest.Count && AccessOf(_index).Exists && FindRun() is { } found)
        {
            ForgetHeld();
            ExtendedKind extended = _guest[_index].Form.Traits.Extended;
            if (extended != ExtendedKind.None && !EmitExtendedCheck(extended, memory: true))
            {
                return;
            }

            bool byStack = found.Base == GuestRspNumber && !_source.IsLoop && Options.Has(Optimizations.KnownStack);
            if (byStack && KnowsStack(found.Lowest, found.Highest, found.Writes))
            {
                _e.LoadState(T2, StateOffset.KnownDelta);
                _runEnd = found.End;
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

            _runEnd = found.End;
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

            bool onStack = register == GuestRsp && LooksAtStackPage;
            byte* miss = EmitPageCheck(onStack ? PageCheckKind.Stack : PageCheckKind.Delta, size, run.Writes);

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
    private static bool WantsStackPointer(in GuestInstruction guest)
        => guest.Names(GuestRspNumber) || guest.Is(FormKinds.MayBeRefused) || (guest.Form.Mnemonic == Mnemonic.Lea && guest.Instruction.MemoryBase == Register.RSP);

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
        bool extendedBegins = _extendedChecked || _guest[_index].Form.Traits.Extended != ExtendedKind.None;
        for (int i = _index; i < _guest.Count; i++)
        {
            ref readonly GuestInstruction guest = ref _guest[i];
            ref readonly RunAccess access = ref AccessOf(i);
            if (!access.Exists || HasWindow(i))
            {
                if (accesses == 0 || !IsNeutral(guest, number, ref moved))
                {
                    break;
                }

                continue;
            }

            if (number >= 0 && access.Base != number)
            {
                break;
            }

            (int displacement, int size, bool writes) = (access.Displacement, access.Size, access.Writes);

            CodeTraits traits = guest.Form.Traits;
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

            (number, from, to) = (access.Base, lowest, highest);
            mayNotWrite |= !stores && MayFaultBesidesItsPage(guest.Form, size);
            stores |= writes;
            end = i + 1;
            if (accesses == 0)
            {
                (first, firstWrites, firstAligned) = (displacement + moved, writes, traits.Aligned && size >= 16);
            }

            accesses++;
            if (guest.Is(FormKinds.Stack))
            {
                moved += guest.Instruction.StackPointerIncrement;
            }
            else if (guest.Writes(number))
            {
                break;
            }

            if (guest.Is(FormKinds.Jumps))
            {
                break;
            }
        }

        return accesses >= 2 || (accesses == 1 && number == GuestRspNumber)
            ? new Run(end, number, from, to, stores, new RunStart(first - from, firstWrites, firstAligned, mayNotWrite), accesses)
            : null;
    }

    private readonly RunAccess[] _accesses = new RunAccess[GuestCode.Capacity];
    private int _accessCount;

    /// <summary>Looked for once for each instruction of the block, when first asked for.</summary>
    private ref readonly RunAccess AccessOf(int index)
    {
        for (; _accessCount <= index; _accessCount++)
        {
            ref readonly GuestInstruction guest = ref _guest[_accessCount];
            _accesses[_accessCount] = guest.Is(FormKinds.Stack | FormKinds.Accesses) ? FindAccess(guest) : RunAccess.Nothing;
        }

        return ref _accesses[index];
    }

    private RunAccess FindAccess(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        if (IsMovableImmediate(guest) || (_e.Relocations.Wanted && Relocations.MayBeKernelAddress(instruction.MemoryDisplacement64)))
        {
            // The copy's constant may be another: it is to stand in one place.
            return RunAccess.Nothing;
        }

        switch (instruction.Code)
        {
            case Code.Push_r64:
                return guest.Names(GuestRspNumber) ? RunAccess.Nothing : new RunAccess(GuestRspNumber, -8, 8, Writes: true);
            case Code.Pushq_imm8 or Code.Pushq_imm32 or Code.Call_rel32_64:
                return new RunAccess(GuestRspNumber, -8, 8, Writes: true);
            case Code.Pop_r64:
                return guest.Names(GuestRspNumber) ? RunAccess.Nothing : new RunAccess(GuestRspNumber, 0, 8, Writes: false);
            case Code.Retnq:
                return new RunAccess(GuestRspNumber, 0, 8, Writes: false);
        }

        InstructionForm form = guest.Form;
        if (!form.Is(FormKinds.Plain) || instruction.HasLockPrefix || !instruction.MemoryBase.IsGPR64() || instruction.MemoryIndex != Register.None
            || form.Memory < 0 || SegmentOf(instruction) >= SegmentFs || guest.HasHighByte)
        {
            return RunAccess.Nothing;
        }

        long far = (long)instruction.MemoryDisplacement64;
        return far == (int)far && Math.Abs(far) < int.MaxValue / 2 && form.MemorySize is > 0 and <= 32
            && form.Traits.Extended switch { ExtendedKind.None => true, ExtendedKind.Sse => (_mode & BlockMode.Sse) != 0, _ => false }
            ? new RunAccess((sbyte)GuestNumber(instruction.MemoryBase), (int)far, (byte)form.MemorySize, form.Traits.WritesMemory)
            : RunAccess.Nothing;
    }

    /// <summary>An access of a run that may be #GP for its alignment, or #XM for what it works on.</summary>
    private static bool MayFaultBesidesItsPage(InstructionForm form, int size)
        => (form.Traits.Aligned && size >= 16) || form.Mnemonic is Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd;

    /// <summary>An instruction between two of a run, that needs no T2 and leaves the run's register alone (or moves the stack pointer by a constant).</summary>
    private static bool IsNeutral(in GuestInstruction guest, int number, ref int moved)
    {
        InstructionForm form = guest.Form;
        if (form.Mnemonic is Mnemonic.Nop or Mnemonic.Endbr64)
        {
            return true;
        }

        ref readonly Instruction instruction = ref guest.Instruction;
        if (!form.Is(FormKinds.Conditional | FormKinds.Simple) || !form.HasGeneralRegister(0) || guest.HasHighByte || IsMovableImmediate(guest))
        {
            return false;
        }

        if (form.Mnemonic == Mnemonic.Lea)
        {
            return !guest.Writes(number) && form.FirstSize >= sizeof(uint)
                && (instruction.MemoryBase.IsGPR64() || instruction.MemoryBase == Register.RIP)
                && (instruction.MemoryIndex == Register.None || Of(GuestNumber(instruction.MemoryIndex)) >= 0);
        }

        if (form.Memory >= 0)
        {
            return false;
        }

        if (number == GuestRspNumber && form.Mnemonic is Mnemonic.Add or Mnemonic.Sub && instruction.Op0Register == Register.RSP
            && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64)
        {
            long by = (long)instruction.GetImmediate(1);
            if (Math.Abs(by) > WidestRun)
            {
                return false;
            }

            moved += form.Mnemonic == Mnemonic.Add ? (int)by : -(int)by;
            return true;
        }

        bool second = instruction.OpCount > 1 && instruction.Op1Kind == OpKind.Register;
        int first = GuestNumber(instruction.Op0Register);
        return first != number
            && (!second || form.HasGeneralRegister(1))
            && (Of(first) >= 0 || !second || Of(GuestNumber(instruction.Op1Register)) >= 0);
    }
}
