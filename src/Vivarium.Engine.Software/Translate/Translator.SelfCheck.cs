using System.Runtime.CompilerServices;
using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Blocks for code that changes again and again (Block.ChecksItself): entered, they compare the guest's bytes with those
// that they were made from. Constants of common forms are not compared but read from the guest's code when they are used.
internal sealed unsafe partial class Translator
{
    /// <summary>A self-checking block gets no instruction that begins after so many bytes: they are compared each time.</summary>
    private const int MaxCheckedBytes = 48;

    private const int ArithmeticGroups = 8;

    /// <summary>The jumps (writable addresses of their displacements) to be taken when bytes differ.</summary>
    private readonly List<nint> _mismatches = [];

    /// <summary>What the instruction writes may be the code that follows: it must be compared again. Or there is enough to compare.</summary>
    private bool EndsSelfCheck(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        return guest.End >= MaxCheckedBytes || instruction.IsStackInstruction || instruction.IsStringInstruction
            || (guest.Form.Memory >= 0 && guest.Form.Traits.WritesMemory && !WritesBesideBlock(instruction))
            || (guest.Is(FormKinds.Emulated) && instruction.Mnemonic is not (Mnemonic.Cli or Mnemonic.Sti));
    }

    /// <summary>
    /// The instruction writes to the page that it stands in, but to no byte that this block can be made from. To know that, it must
    /// name the address relative to its own: what it reaches otherwise may be the same memory under another address.
    /// </summary>
    private bool WritesBesideBlock(in Instruction instruction)
    {
        if (!instruction.IsIPRelativeMemoryOperand || CodeBits != 64 || SegmentOf(instruction) >= SegmentFs)
        {
            return false;
        }

        const ulong mostBytes = MaxCheckedBytes + GuestCode.MaxInstructionBytes;
        ulong size = (ulong)instruction.MemorySize.GetSize();
        ulong from = instruction.IPRelativeMemoryAddress - (_source.Rip & ~GuestMemory.PageMask);
        ulong block = _source.Rip & GuestMemory.PageMask;
        return size != 0 && from + size <= GuestMemory.PageSize && from < GuestMemory.PageSize && (from + size <= block || from >= block + mostBytes);
    }

    /// <summary>Compares all bytes that the block is made from, but for the constants that are read later. T1 and T2 are lost.</summary>
    private void EmitSelfCheck()
    {
        Span<byte> bytes = stackalloc byte[MaxCheckedBytes + GuestCode.MaxInstructionBytes];
        Span<bool> compared = stackalloc bool[MaxCheckedBytes + GuestCode.MaxInstructionBytes];
        int length = 0;
        for (int i = 0; i < _guest.Count; i++)
        {
            ref readonly GuestInstruction guest = ref _guest[i];
            guest.Code.CopyTo(bytes[length..]);
            compared.Slice(length, guest.Length - FreshConstantSize(guest.Instruction)).Fill(true);
            length = guest.End;
        }

        DestroyFlags();
        _e.MovImm(T1, (ulong)_source.Bytes);
        EmitCompare(bytes[..length], compared[..length], _mismatches);
        EndCheck();
    }

    /// <summary>The block has found other bytes: it goes back to be made anew.</summary>
    private void EmitMismatch()
    {
        if (_mismatches.Count == 0)
        {
            return;
        }

        _flags = FlagsAt.Host;
        Mark(_source.Rip);
        foreach (nint jump in _mismatches)
        {
            _e.Land((byte*)jump);
        }

        _e.RestoreFlags(T2);
        _e.StoreStateRip(StateOffset.Rip, _source.Rip);
        _e.Call(_thunks.Changed);
    }

    /// <summary>An instruction whose constant is read from the guest's code.</summary>
    private bool EmitWithFreshConstant(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        int size = FreshConstantSize(instruction);
        if (size == 0)
        {
            return false;
        }

        int at = guest.Length - size;
        bool wide = instruction.Op0Register.GetSize() == 8;
        _e.MovImm(T1, (ulong)(_source.Bytes + guest.End - guest.Length));
        if (wide && size == 4)
        {
            _e.Rm(0x63, T2, T1, at);            // movsxd
        }
        else
        {
            _e.Load(T2, T1, at, wide);
        }

        int register = GuestNumber(instruction.Op0Register);
        int group = ArithmeticGroup(instruction.Mnemonic);
        if (group < 0)
        {
            EmitWriteGuest(register, T2, wide ? 8 : 4);
            return true;
        }

        if (instruction.Mnemonic is Mnemonic.Adc or Mnemonic.Sbb)
        {
            NeedFlags(T1);
        }

        int opcode = (group * ArithmeticGroups) + 1;
        int host = Of(register);
        _flags = FlagsAt.Host;
        if (host >= 0)
        {
            _e.Rr(opcode, T2, host, wide);
            return true;
        }

        _e.LoadState(T1, StateOffset.Gpr(register));
        _e.Rr(opcode, T2, T1, wide);
        if (instruction.Mnemonic != Mnemonic.Cmp)
        {
            _e.StoreState(StateOffset.Gpr(register), T1);
        }

        return true;
    }

    /// <summary>Compares bytes at [T1] with constants, in as large pieces as there are.</summary>
    private void EmitCompare(ReadOnlySpan<byte> bytes, ReadOnlySpan<bool> compared, List<nint> differ)
    {
        for (int at = 0; at < bytes.Length;)
        {
            int run = compared[at..].IndexOf(false);
            run = run < 0 ? bytes.Length - at : run;
            switch (run)
            {
                case 0:
                    at++;
                    continue;
                case 1:
                    _e.Rm(0x80, 7, T1, at, wide: false);    // cmp byte
                    _e.Byte(bytes[at]);
                    at++;
                    break;
                case 2 or 3:
                    _e.Byte(0x66);
                    _e.Rm(0x81, 7, T1, at, wide: false);    // cmp word
                    _e.Byte(bytes[at]);
                    _e.Byte(bytes[at + 1]);
                    at += 2;
                    break;
                default:
                    _e.Rm(0x81, 7, T1, at, wide: false);    // cmp dword
                    _e.Dword(Unsafe.ReadUnaligned<int>(in bytes[at]));
                    at += 4;
                    break;
            }

            differ.Add((nint)_e.JumpForward(JnzCondition));
        }
    }

    /// <summary>Size of the constant at the end of an instruction that is read when it runs; 0 if there is none.</summary>
    private int FreshConstantSize(in Instruction instruction)
    {
        // Another processor may replace the whole instruction by one store, and back: it would be seen in parts.
        if (AlignJumps || instruction.OpCount != 2 || instruction.Op0Kind != OpKind.Register)
        {
            return 0;
        }

        switch (instruction.Op1Kind)
        {
            case OpKind.Immediate64:
                return instruction.Mnemonic == Mnemonic.Mov ? 8 : 0;
            case OpKind.Immediate32 or OpKind.Immediate32to64:
                return instruction.Mnemonic == Mnemonic.Mov || ArithmeticGroup(instruction.Mnemonic) >= 0 ? 4 : 0;
            default:
                return 0;
        }
    }

    /// <summary>Number of an arithmetic operation in opcodes (SDM vol. 2, table A-6, group 1); negative if it is none.</summary>
    private static int ArithmeticGroup(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Add => 0,
        Mnemonic.Or => 1,
        Mnemonic.Adc => 2,
        Mnemonic.Sbb => 3,
        Mnemonic.And => 4,
        Mnemonic.Sub => 5,
        Mnemonic.Xor => 6,
        Mnemonic.Cmp => 7,
        _ => -1,
    };
}
