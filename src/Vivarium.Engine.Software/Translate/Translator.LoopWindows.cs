using System.Runtime.InteropServices;
using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Windows: where a loop's accesses go by registers that each round changes by a constant, or not at all, one comparison at the
// head of a round shows that all those accesses stay in the pages where they were in the last round that checked each by itself
// (the block's first). The window is the range of such an address, taken at the head, for which that is so. Out of it, the
// loop goes through its first round again, which checks everything and finds the next window.
internal sealed unsafe partial class Translator
{
    /// <summary>An address that accesses share but for a constant: base + index * scale, of guest registers as they are at the head.</summary>
    /// <param name="Base">Guest register, or -1.</param>
    /// <param name="Index">Guest register, or -1.</param>
    /// <param name="Shift">Binary logarithm of the scale.</param>
    private readonly record struct WindowAddress(int Base, int Index, int Shift)
    {
        public bool DependsOn(int registers) => ((Base < 0 ? 0 : 1 << Base) & registers) != 0 || ((Index < 0 ? 0 : 1 << Index) & registers) != 0;
    }

    /// <summary>An access that a window covers: by which instruction, and where from the window's address.</summary>
    private readonly record struct WindowAccess(int Instruction, int Window, int Displacement, int Size, bool Write);

    private readonly List<WindowAddress> _windows = [];
    private readonly List<WindowAccess> _windowAccesses = [];

    /// <summary>Registers that the loop changes in any way.</summary>
    private int _changedInLoop;

    /// <summary>Finds the windows of the loop that was decoded.</summary>
    private void FindWindows()
    {
        _windows.Clear();
        _windowAccesses.Clear();
        _changedInLoop = 0;
        if (!Options.Has(Optimizations.LoopWindows))
        {
            return;
        }

        // Where a register leads that is loaded or computed, the page of last time tells little.
        int wild = 0;
        for (int i = 0; i < _guest.Count; i++)
        {
            ref readonly Instruction instruction = ref _guest[i].Instruction;
            _changedInLoop |= _written[i];
            if (!MovesPointer(instruction))
            {
                wild |= _written[i];
            }
            else if (instruction.IsStackInstruction)
            {
                wild |= _written[i] & ~(1 << GuestRspNumber);
            }
        }

        Span<int> moved = stackalloc int[16];
        int unknown = 0;
        for (int i = 0; i < _guest.Count; i++)
        {
            ref readonly Instruction instruction = ref _guest[i].Instruction;
            if (TryGetWindowAccess(_guest[i], out WindowAddress address, out long displacement, out int size, out bool write)
                && !address.DependsOn(unknown | wild) && !(write && AlignJumps))
            {
                displacement += address.Base < 0 ? 0 : moved[address.Base];
                displacement += address.Index < 0 ? 0 : (long)moved[address.Index] << address.Shift;
                NoteWindowAccess(i, address, displacement, size, write);
            }

            if (TryGetStep(instruction, out int register, out int step))
            {
                moved[register] += step;
                unknown |= _written[i] & ~(1 << register);
            }
            else
            {
                unknown |= _written[i];
            }
        }
    }

    private void NoteWindowAccess(int instruction, in WindowAddress address, long displacement, int size, bool write)
    {
        if (displacement != (int)displacement || _windowAccesses.Count == NativeLoopWindows.Accesses)
        {
            return;
        }

        int window = _windows.IndexOf(address);
        if (window < 0)
        {
            if (_windows.Count == NativeLoopWindows.Windows)
            {
                return;
            }

            window = _windows.Count;
            _windows.Add(address);
        }

        _windowAccesses.Add(new WindowAccess(instruction, window, (int)displacement, size, write));
    }

    /// <summary>Instructions that loops step through memory with.</summary>
    private static bool MovesPointer(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Add or Mnemonic.Sub or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Lea
            || (instruction.Mnemonic is Mnemonic.Push or Mnemonic.Pop && instruction.StackPointerIncrement is 8 or -8);

    /// <summary>An instruction that adds a constant to all 64 bits of a register, which is no less in reach of it then.</summary>
    private static bool TryGetStep(in Instruction instruction, out int register, out int step)
    {
        const int furthest = 1 << 20;
        long by;
        register = GuestRspNumber;
        step = 0;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Push or Mnemonic.Pop when instruction.StackPointerIncrement is 8 or -8:
                by = instruction.StackPointerIncrement;
                break;
            case Mnemonic.Add or Mnemonic.Sub when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR64()
                && instruction.Op1Kind is OpKind.Immediate8to64 or OpKind.Immediate32to64:
                register = GuestNumber(instruction.Op0Register);
                by = (long)instruction.GetImmediate(1);
                by = instruction.Mnemonic == Mnemonic.Add ? by : -by;
                break;
            case Mnemonic.Inc or Mnemonic.Dec when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR64():
                register = GuestNumber(instruction.Op0Register);
                by = instruction.Mnemonic == Mnemonic.Inc ? 1 : -1;
                break;
            case Mnemonic.Lea when instruction.Op0Register.IsGPR64() && instruction.MemoryBase == instruction.Op0Register && instruction.MemoryIndex == Register.None:
                register = GuestNumber(instruction.Op0Register);
                by = (long)instruction.MemoryDisplacement64;
                break;
            default:
                return false;
        }

        step = (int)by;
        return Math.Abs(by) <= furthest;
    }

    /// <summary>The one memory access of an instruction, if it is by 64-bit registers and in a segment without base.</summary>
    private bool TryGetWindowAccess(in GuestInstruction guest, out WindowAddress address, out long displacement, out int size, out bool write)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        address = default;
        displacement = 0;
        size = 8;
        write = true;
        if (instruction.IsStackInstruction)
        {
            address = new WindowAddress(GuestRspNumber, -1, 0);
            bool push = instruction.Mnemonic == Mnemonic.Push;
            displacement = push ? -8 : 0;
            write = push;
            return instruction.StackPointerIncrement is 8 or -8 && instruction.Mnemonic is Mnemonic.Push or Mnemonic.Pop && guest.Form.Memory < 0;
        }

        if (guest.Form.Memory < 0 || instruction.Mnemonic == Mnemonic.Lea || instruction.HasLockPrefix || IsMasked(instruction)
            || SegmentOf(instruction) >= SegmentFs || instruction.MemorySize.GetSize() is 0 or > 64)
        {
            return false;
        }

        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        if (!(@base is Register.None or Register.RIP || @base.IsGPR64()) || !(index == Register.None || index.IsGPR64()))
        {
            return false;
        }

        bool isRelative = @base == Register.RIP;
        bool isConstant = index == Register.None && (@base == Register.None || isRelative);
        address = new WindowAddress(
            @base == Register.None || isRelative ? -1 : GuestNumber(@base),
            index == Register.None ? -1 : GuestNumber(index),
            System.Numerics.BitOperations.Log2((uint)instruction.MemoryIndexScale));

        // A constant address may be out of a displacement's reach: the instruction's RIP is taken for the origin.
        displacement = (long)(isConstant ? instruction.MemoryDisplacement64 - _source.Rip : instruction.MemoryDisplacement64);
        size = instruction.MemorySize.GetSize();
        write = guest.Form.Traits.WritesMemory;
        return true;
    }

    /// <summary>The access of the present instruction that a window covers; -1 if it is for no window.</summary>
    private int WindowAccessOf(int size, bool write)
    {
        if (!_source.IsLoop)
        {
            return -1;
        }

        for (int i = 0; i < _windowAccesses.Count; i++)
        {
            WindowAccess access = _windowAccesses[i];
            if (access.Instruction == _index)
            {
                return access.Size == size && access.Write == write ? i : -1;
            }
        }

        return -1;
    }

    /// <summary>A window covers the access of an instruction.</summary>
    private bool HasWindow(int instruction)
    {
        if (_source.IsLoop)
        {
            foreach (ref readonly WindowAccess access in CollectionsMarshal.AsSpan(_windowAccesses))
            {
                if (access.Instruction == instruction)
                {
                    return true;
                }
            }
        }

        return false;
    }

    private static int LowOffset(int window) => StateOffset.LoopWindows + (window * NativeLoopWindows.WindowSize);

    private static int HighOffset(int window) => LowOffset(window) + sizeof(ulong);

    private static int LengthOffset(int window) => LowOffset(window) + (2 * sizeof(ulong));

    private static int DeltaOfAccess(int access) => StateOffset.LoopWindows + NativeLoopWindows.DeltasOffset + (access * sizeof(ulong));

    /// <summary>At the block's start: all addresses are in the windows, as far as is known.</summary>
    private void EmitOpenWindows()
    {
        if (_windows.Count == 0)
        {
            return;
        }

        _e.MovImm(T1, unchecked((ulong)long.MinValue));
        for (int i = 0; i < _windows.Count; i++)
        {
            _e.StoreState(LowOffset(i), T1);
        }

        _e.MovImm(T1, long.MaxValue);
        for (int i = 0; i < _windows.Count; i++)
        {
            _e.StoreState(HighOffset(i), T1);
        }
    }

    /// <summary>In the first round, behind a check by the TLB: T1 = offset in the page, T2 = the entry's place. Then T1 = linear address, T2 = delta.</summary>
    private void EmitNoteInWindow(int number)
    {
        WindowAccess access = _windowAccesses[number];
        _e.StoreState(StateOffset.JumpRax, Rax);
        _e.TlbField(0x8B, Rax, Tlb, T2, NativeTlbEntry.TagOffset(access.Write));
        _e.TlbField(0x8B, T2, Tlb, T2, NativeTlbEntry.DeltaOffset);
        _e.StoreState(DeltaOfAccess(number), T2);
        _e.Rr(0x01, Rax, T1);                   // add T1, rax
        EmitNarrow(access, 4096 - access.Size);
        _e.LoadState(Rax, StateOffset.JumpRax);
    }

    /// <summary>The window's address must lead the access to between RAX and <paramref name="reach"/> behind it. RAX is lost.</summary>
    private void EmitNarrow(in WindowAccess access, int reach)
    {
        _e.Rr(0x81, 5, Rax);                    // sub
        _e.Dword(access.Displacement);
        _e.Rm(0x3B, Rax, State, LowOffset(access.Window));
        byte* notHigher = _e.ShortForward(0x7E);
        _e.StoreState(LowOffset(access.Window), Rax);
        _e.LandShort(notHigher);
        _e.Rr(0x81, 0, Rax);                    // add
        _e.Dword(reach);
        _e.Rm(0x3B, Rax, State, HighOffset(access.Window));
        byte* notLower = _e.ShortForward(0x7D);
        _e.StoreState(HighOffset(access.Window), Rax);
        _e.LandShort(notLower);
    }

    /// <summary>
    /// Behind <see cref="Thunks.Resolve"/>: T1 = host address, T2 = delta. What may be written without asking again are these bytes only
    /// (code that was there is dropped, but there may be more beside it); what was read need not be memory.
    /// </summary>
    private void EmitNoteResolved(int number)
    {
        WindowAccess access = _windowAccesses[number];
        if (!access.Write)
        {
            // The highest address below all, the lowest above all, whatever else is noted: the window is shut.
            _e.Rm(0xC7, 0, State, HighOffset(access.Window) + sizeof(int), wide: false);
            _e.Dword(int.MinValue);
            _e.Rm(0xC7, 0, State, LowOffset(access.Window) + sizeof(int), wide: false);
            _e.Dword(int.MaxValue);
            return;
        }

        _e.StoreState(StateOffset.JumpRax, Rax);
        _e.StoreState(DeltaOfAccess(number), T2);
        _e.MovRr(Rax, T1);
        _e.Rr(0x29, T2, Rax);                   // sub
        EmitNarrow(access, 0);
        _e.LoadState(Rax, StateOffset.JumpRax);
    }

    /// <summary>Behind the first round: are there windows at all?</summary>
    private void EmitCloseWindows()
    {
        const int lessCondition = 12;
        for (int i = 0; i < _windows.Count; i++)
        {
            _e.LoadState(T1, HighOffset(i));
            _e.Rm(0x2B, T1, State, LowOffset(i));   // sub
            LeaveWindow(_e.JumpForward(lessCondition));
            if (_windows[i].DependsOn(_changedInLoop))
            {
                _e.StoreState(LengthOffset(i), T1);
            }
        }
    }

    /// <summary>At the head of the second round. T1, T2 and RFLAGS are lost.</summary>
    private void EmitCheckWindows()
    {
        for (int i = 0; i < _windows.Count; i++)
        {
            if (!_windows[i].DependsOn(_changedInLoop))
            {
                continue;
            }

            EmitWindowAddress(_windows[i]);
            _e.Rm(0x2B, T1, State, LowOffset(i));       // sub
            _e.Rm(0x3B, T1, State, LengthOffset(i));    // cmp
            LeaveWindow(_e.JumpForward(JaCondition));
        }
    }

    /// <summary>Not to the landing of a block that floats: S-&gt;Rip is set for who comes from elsewhere only.</summary>
    private void LeaveWindow(byte* jump)
        => _cold.Add(new ColdPart(ColdKind.FirstRound, _source.Rip, jump, _blockCode + (Floating ? LandingBytes : 0), flags: _flags, recipe: _recipe));

    /// <summary>T1 = the window's address.</summary>
    private void EmitWindowAddress(in WindowAddress address)
    {
        int baseHost = address.Base < 0 ? -1 : HostOrLoad(address.Base, T1);
        int indexHost = address.Index < 0 ? -1 : HostOrLoad(address.Index, T2);
        if (indexHost < 0)
        {
            if (baseHost != T1)
            {
                _e.MovRr(T1, baseHost);
            }
        }
        else if (baseHost < 0)
        {
            _e.RxNoBase(0x8D, T1, indexHost, address.Shift, 0);
        }
        else
        {
            _e.Rx(0x8D, T1, baseHost, indexHost, address.Shift, 0);
        }
    }
}
