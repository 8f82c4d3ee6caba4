using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Writes host instructions as bytes: the few shapes that thunks and checks are made of. An instruction is
/// named by its mnemonic and operand kinds (M = memory at base + displacement, X = with an index).
/// </summary>
internal sealed unsafe class Emitter
{
    /// <summary>Asked of the processor: a program compiled ahead answers Bmi2.IsSupported for the least processor it may run on.</summary>
    private static readonly bool HasRorx = CpuModel.HostHas(CpuFeature.Bmi2);

    private byte* _cursor;
    private long _toExecutable;
    private byte* _start;

    /// <summary>The fields of the present block that depend on its place.</summary>
    public Relocations Relocations { get; } = new();

    /// <summary>Where the next byte is written.</summary>
    public byte* Cursor
    {
        get => _cursor;
        set => _cursor = value;
    }

    /// <summary>The address at which the next byte will run.</summary>
    public byte* Here => _cursor + _toExecutable;

    /// <summary>Start of the code region: where the thunks were emitted.</summary>
    public byte* Region { get; private set; }

    public void Start(byte* writable, byte* executable)
    {
        _cursor = _start = writable;
        _toExecutable = executable - writable;
        if (Region == null)
        {
            Region = executable;
        }
    }

    public byte* ToExecutable(byte* writable) => writable + _toExecutable;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Byte(int value) => *_cursor++ = (byte)value;

    public void Word(ushort value)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += sizeof(ushort);
    }

    public void Dword(int value)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += 4;
    }

    public void Qword(ulong value)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += 8;
    }

    public void Bytes(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_cursor, bytes.Length));
        _cursor += bytes.Length;
    }

    /// <summary>Bytes of one instruction.</summary>
    /// <param name="bytes">At least 16 can be read.</param>
    /// <param name="length">How many count.</param>
    public void Copy(byte* bytes, int length)
    {
        Unsafe.CopyBlockUnaligned(_cursor, bytes, 16);
        _cursor += length;
    }

    // ---- register to register ----

    /// <summary>opcode reg, rm with both registers.</summary>
    public void Rr(int opcode, int reg, int rm, bool wide = true)
    {
        int rex = 0x40 | (wide ? 8 : 0) | ((reg >> 3) << 2) | (rm >> 3);
        byte* at = Head(rex, rex != 0x40, opcode);
        *at = (byte)(0xC0 | ((reg & 7) << 3) | (rm & 7));
        _cursor = at + 1;
    }

    public void MovRr(int to, int from) => Rr(0x89, from, to);

    public void Mov32Rr(int to, int from) => Rr(0x89, from, to, wide: false);

    /// <summary>The shortest MOV of a constant that leaves flags alone.</summary>
    public void MovImm(int reg, ulong value)
    {
        if (value <= uint.MaxValue)
        {
            if (reg >= 8)
            {
                Byte(0x41);
            }

            Byte(0xB8 | (reg & 7));
            Dword((int)value);
        }
        else if ((long)value == (int)value)
        {
            Byte(0x48 | (reg >> 3));
            Byte(0xC7);
            Byte(0xC0 | (reg & 7));
            Dword((int)value);
        }
        else
        {
            Byte(0x48 | (reg >> 3));
            Byte(0xB8 | (reg & 7));
            Qword(value);
        }
    }

    /// <summary>Register = the bits of an address from <paramref name="shift"/> on, as many as a mask takes. Destroys RFLAGS.</summary>
    public void Bits(int to, int from, int shift, int mask)
    {
        if (HasRorx)
        {
            // rorx to, from, shift: VEX.LZ.F2.0F3A.W0 F0 (SDM vol. 2B, RORX)
            Byte(0xC4);
            Byte((to < 8 ? 0x80 : 0) | 0x40 | (from < 8 ? 0x20 : 0) | 3);
            Byte(0x7B);
            Byte(0xF0);
            Byte(0xC0 | ((to & 7) << 3) | (from & 7));
        }
        else
        {
            Mov32Rr(to, from);
            Rr(0xC1, 5, to, wide: false);   // shr
        }

        Byte(shift);
        Rr(0x81, 4, to, wide: false);       // and
        Dword(mask);
    }

    private ulong? _floatingPage;

    /// <summary>RIPs of the guest's are worked out, from now on, from where its page is mapped (<see cref="NativeState.CodePage"/>).</summary>
    /// <param name="page">Where it is mapped now, which the code then does not depend on; null: they are constants.</param>
    public void FloatsFrom(ulong? page) => _floatingPage = page;

    /// <summary>MOV of a RIP of the guest's; its length tells nothing of the value if the block is to be moved.</summary>
    public void MovRip(int reg, ulong rip)
    {
        if (_floatingPage is { } page)
        {
            long offset = (long)(rip - page);
            int part = (int)Math.Clamp(offset, int.MinValue, int.MaxValue);
            LoadState(reg, StateOffset.CodePage);
            Lea(reg, reg, part);
            if (part != offset)
            {
                Lea(reg, reg, (int)(offset - part));
            }

            return;
        }

        if (!Relocations.Wanted)
        {
            MovImm(reg, rip);
            return;
        }

        Byte(0x48 | (reg >> 3));
        if (Relocations.Short && Relocations.IsShort(rip))
        {
            Byte(0xC7);
            Byte(0xC0 | (reg & 7));
            Rip32(rip);
        }
        else
        {
            Byte(0xB8 | (reg & 7));
            Relocations.AddRip(RelocationKind.Rip64, Offset, rip);
            Qword(rip);
        }
    }

    /// <summary>MOV qword [state + offset], a RIP of the guest's; may use T2.</summary>
    public void StoreStateRip(int offset, ulong rip)
    {
        if (_floatingPage is not null)
        {
            MovRip(HostRegister.T2, rip);
            StoreState(offset, HostRegister.T2);
        }
        else if (!Relocations.Wanted)
        {
            StoreStateImm(offset, rip);
        }
        else if (Relocations.Short && Relocations.IsShort(rip))
        {
            Rm(0xC7, 0, HostRegister.State, offset);
            Rip32(rip);
        }
        else
        {
            MovRip(HostRegister.T2, rip);
            StoreState(offset, HostRegister.T2);
        }
    }

    /// <summary>LEA reg, [base + a RIP that is <see cref="Relocations.IsShort"/>].</summary>
    public void LeaRip(int reg, int @base, ulong rip)
    {
        Byte(0x48 | ((reg >> 3) << 2) | (@base >> 3));
        Byte(0x8D);
        Byte(0x80 | ((reg & 7) << 3) | (@base & 7));
        Rip32(rip);
    }

    /// <summary>A displacement from the state pointer that depends on a RIP of the guest's, behind an instruction that ends with 32 bits of it.</summary>
    public void NoteJumpEntry(RelocationKind kind, ulong rip) => Relocations.AddRip(kind, Offset - 4, rip);

    /// <summary>The instruction behind which we are ends with four bytes of the guest's code.</summary>
    /// <param name="at">Where they stand in the block's guest code.</param>
    public void NoteImmediate(int at) => Relocations.AddMasked(new Relocation((ushort)(Offset - sizeof(int)), RelocationKind.Immediate, at));

    /// <summary>MOV of an operand's address (<see cref="Relocations.IsFarOperand"/>).</summary>
    /// <param name="at">Where its displacement stands in the block's guest code.</param>
    /// <param name="end">Where the next instruction does.</param>
    public void MovFarOperand(int reg, ulong address, int at, int end)
    {
        Byte(0x48 | (reg >> 3));
        Byte(0xC7);
        Byte(0xC0 | (reg & 7));
        Relocations.AddMasked(Relocation.ToFarOperand(Offset, at, end));
        Dword((int)address);
    }

    private int Offset => (int)(_cursor - _start);

    /// <summary>Four bytes of a RIP of the guest's, which the processor sign-extends.</summary>
    public void Rip32(ulong rip)
    {
        Relocations.AddRip(RelocationKind.Rip32, Offset, rip);
        Dword((int)rip);
    }

    // ---- memory ----

    /// <summary>opcode reg, [base + disp] (or the reverse, as the opcode says).</summary>
    public void Rm(int opcode, int reg, int @base, int disp, bool wide = true, bool byteReg = false)
    {
        int rex = 0x40 | (wide ? 8 : 0) | ((reg >> 3) << 2) | (@base >> 3);
        byte* at = Head(rex, rex != 0x40 | (byteReg & reg >= 4), opcode);
        _cursor = Operand(at, reg, @base & 7, (@base & 7) == NeedsSib ? 0x24 : NoSib, @base, disp);
    }

    /// <summary>opcode reg, [base + index * 2^scale + disp].</summary>
    public void Rx(int opcode, int reg, int @base, int index, int scale, int disp, bool wide = true)
    {
        int rex = 0x40 | (wide ? 8 : 0) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (@base >> 3);
        byte* at = Head(rex, rex != 0x40, opcode);
        _cursor = Operand(at, reg, NeedsSib, (scale << 6) | ((index & 7) << 3) | (@base & 7), @base, disp);
    }

    /// <summary>opcode reg, operand.</summary>
    public void Op(int opcode, int reg, in HostOperand operand, bool wide = true)
    {
        if (operand.Index < 0)
        {
            Rm(opcode, reg, operand.Base, operand.Displacement, wide);
        }
        else
        {
            Rx(opcode, reg, operand.Base, operand.Index, 0, operand.Displacement, wide);
        }
    }

    /// <summary>opcode reg, [index * 2^scale + disp32], no base.</summary>
    public void RxNoBase(int opcode, int reg, int index, int scale, int disp, bool wide = true)
    {
        int rex = 0x40 | (wide ? 8 : 0) | ((reg >> 3) << 2) | ((index >> 3) << 1);
        byte* at = Head(rex, rex != 0x40, opcode);
        at[0] = (byte)(((reg & 7) << 3) | NeedsSib);
        at[1] = (byte)((scale << 6) | ((index & 7) << 3) | 5);
        Unsafe.WriteUnaligned(at + 2, disp);
        _cursor = at + 2 + sizeof(int);
    }

    public void Load(int reg, int @base, int disp, bool wide = true) => Rm(0x8B, reg, @base, disp, wide);

    public void Store(int @base, int disp, int reg, bool wide = true) => Rm(0x89, reg, @base, disp, wide);

    public void LoadState(int reg, int offset) => Rm(0x8B, reg, HostRegister.State, offset);

    public void StoreState(int offset, int reg) => Rm(0x89, reg, HostRegister.State, offset);

    /// <summary>MOV qword [state + offset], constant; uses T2 where the constant needs 64 bits.</summary>
    public void StoreStateImm(int offset, ulong value)
    {
        if ((long)value == (int)value)
        {
            Rm(0xC7, 0, HostRegister.State, offset);
            Dword((int)value);
        }
        else
        {
            MovImm(HostRegister.T2, value);
            StoreState(offset, HostRegister.T2);
        }
    }

    /// <summary>MOV dword [state + offset], constant.</summary>
    public void StoreStateImm32(int offset, uint value)
    {
        Rm(0xC7, 0, HostRegister.State, offset, wide: false);
        Dword((int)value);
    }

    /// <summary>MOV qword [state + offset], the index of a trapped instruction.</summary>
    /// <param name="at">Where the instruction stands in the block's guest code.</param>
    public void StoreStateTrap(int offset, int index, int at)
    {
        Rm(0xC7, 0, HostRegister.State, offset);
        Relocations.Add(RelocationKind.Trap, Offset, at);
        Dword(index);
    }

    /// <summary>CMP qword [state + offset], imm8.</summary>
    public void CmpStateImm8(int offset, int value)
    {
        Rm(0x83, 7, HostRegister.State, offset);
        Byte(value);
    }

    /// <summary>AND (4) or OR (1) of byte [state + offset] with a constant.</summary>
    public void StateByteImm(int operation, int offset, int value)
    {
        Rm(0x80, operation, HostRegister.State, offset, wide: false);
        Byte(value);
    }

    /// <summary>LEA reg, [base + disp] of a length that does not depend on the displacement: 7 bytes.</summary>
    public void LeaFar(int reg, int @base, int disp)
    {
        Byte(0x48 | ((reg >> 3) << 2) | (@base >> 3));
        Byte(0x8D);
        Byte(0x80 | ((reg & 7) << 3) | (@base & 7));
        Dword(disp);
    }

    /// <summary>LEA reg, [base + disp].</summary>
    public void Lea(int reg, int @base, int disp, bool wide = true) => Rm(0x8D, reg, @base, disp, wide);

    /// <summary>LEA reg, an executable address.</summary>
    public void LeaHost(int reg, byte* target)
    {
        Byte(0x48 | ((reg >> 3) << 2));
        Byte(0x8D);
        Byte(5 | ((reg & 7) << 3));
        Relative(target);
    }

    /// <summary>LEA reg, the executable address so many bytes behind this instruction.</summary>
    public void LeaHostAhead(int reg, int bytes)
    {
        Byte(0x48 | ((reg >> 3) << 2));
        Byte(0x8D);
        Byte(5 | ((reg & 7) << 3));
        Dword(bytes);
    }

    public void Push(int reg) => Plus(0x50, reg);

    public void Pop(int reg) => Plus(0x58, reg);

    private void Plus(int opcode, int reg)
    {
        if (reg >= 8)
        {
            Byte(0x41);
        }

        Byte(opcode | (reg & 7));
    }

    /// <summary>PUSH of a constant, sign-extended to 8 bytes.</summary>
    public void PushImm(int value)
    {
        Byte(0x68);
        Dword(value);
    }

    /// <summary>PUSH of a guest RIP. May use T2.</summary>
    public void PushRip(ulong rip)
    {
        if (_floatingPage is null && Relocations.IsShort(rip) && (Relocations.Short || !Relocations.Wanted))
        {
            Byte(0x68);
            Rip32(rip);
        }
        else
        {
            MovRip(HostRegister.T2, rip);
            Push(HostRegister.T2);
        }
    }

    // ---- flags ----

    /// <summary>Puts the arithmetic flags into the state block without changing them. The scratch register is lost.</summary>
    public void SaveFlags(int scratch)
    {
        MovRr(scratch, HostRegister.Rax);
        Dword(unchecked((int)0xC0900F9F)); // lahf; seto al
        Store(HostRegister.State, StateOffset.SavedFlags, HostRegister.Rax, wide: false);
        MovRr(HostRegister.Rax, scratch);
    }

    /// <summary>As <see cref="SaveFlags"/>, with no register lost: in thunks, whose time matters little.</summary>
    public void SaveFlagsByStack()
    {
        Push(HostRegister.Rax);
        Dword(unchecked((int)0xC0900F9F)); // lahf; seto al
        Store(HostRegister.State, StateOffset.SavedFlags, HostRegister.Rax, wide: false);
        Pop(HostRegister.Rax);
    }

    /// <summary>Makes the arithmetic flags in the state block those of a value in a register, which is lost, as are RFLAGS and the scratch register.</summary>
    public void PutFlags(int value, int scratch)
    {
        const int shiftRight = 5, shiftLeft = 4, and = 4;
        Mov32Rr(scratch, value);
        Rr(0xC1, shiftRight, scratch, wide: false);
        Byte(11);                               // OF
        Rr(0x83, and, scratch, wide: false);
        Byte(1);
        Rr(0x0FB6, value, value, wide: false);  // movzx
        Rr(0xC1, shiftLeft, value, wide: false);
        Byte(8);
        Rr(0x09, scratch, value, wide: false);  // or
        Store(HostRegister.State, StateOffset.SavedFlags, value, wide: false);
    }

    /// <summary>Brings the arithmetic flags back from the state block. The scratch register is lost.</summary>
    public void RestoreFlags(int scratch)
    {
        MovRr(scratch, HostRegister.Rax);
        Load(HostRegister.Rax, HostRegister.State, StateOffset.SavedFlags, wide: false);
        Word(0x7F04);           // add al, 7Fh: OF again
        Byte(0x9E);             // sahf
        MovRr(HostRegister.Rax, scratch);
    }

    /// <summary>to = where in the jump cache a RIP would stand, in bytes. The arithmetic flags are lost.</summary>
    public void JumpPlace(int to, int rip, AddressSpace space)
    {
        const int and = 4;
        Crc32(to, rip);
        Rr(0x81, and, to, wide: false);
        Dword((NativeJumpCache.EntriesOf(space) - 1) << NativeJumpCache.EntryShift);
    }

    /// <summary>to = where in a first-level TLB the entry for an address would stand, in bytes. RFLAGS are lost.</summary>
    public void TlbPlace(int to, int address)
        => Bits(to, address, GuestMemory.PageShift - NativeTlb.EntryShift, (NativeTlb.Entries - 1) << NativeTlb.EntryShift);

    /// <summary>An operation of a register with a field of the TLB's entry that stands at <paramref name="place"/>.</summary>
    /// <param name="tlb">As <see cref="StateOffset.Tlb"/>.</param>
    /// <param name="field">Where it is in the entry.</param>
    public void TlbField(int opcode, int register, int tlb, int place, int field)
        => Rx(opcode, register, HostRegister.State, place, 0, tlb + field);

    /// <summary>Adds a register's value to a <see cref="NativeFilled"/>. RFLAGS and the scratch register are lost.</summary>
    public void AddToFilled(int filled, int item, int scratch)
    {
        LoadState(scratch, filled);
        Rx(0x89, item, HostRegister.State, scratch, 3, filled + NativeFilled.ItemsOffset);
        Rr(0x81, 7, scratch);                   // cmp: carry if there is room
        Dword(NativeFilled.Capacity);
        Rm(0x83, 2, HostRegister.State, filled); // adc
        Byte(0);
    }

    /// <summary>to = CRC-32C of a register, from 0. Changes the flags.</summary>
    public void Crc32(int to, int from)
    {
        Rr(0x31, to, to, wide: false);
        Byte(0xF2);
        Rr(0x0F38F1, to, from);
    }

    /// <summary>to = CRC-32C of another register too. Keeps flags.</summary>
    public void Crc32More(int to, int from)
    {
        Byte(0xF2);
        Rr(0x0F38F1, to, from);
    }

    // ---- jumps ----

    public void Jmp(byte* target)
    {
        Byte(0xE9);
        Relative(target);
    }

    /// <summary>To what was emitted before, in two bytes if it is near.</summary>
    public void JmpBack(byte* target)
    {
        long distance = target - (Here + 2);
        if (distance < sbyte.MinValue)
        {
            Jmp(target);
            return;
        }

        Byte(0xEB);
        Byte((int)distance);
    }

    public void Call(byte* target)
    {
        Byte(0xE8);
        Relative(target);
    }

    public void Jcc(int condition, byte* target)
    {
        Word((ushort)(0x800F | (condition << 8)));
        Relative(target);
    }

    /// <summary>What was written before is seen before what comes next is read (SDM vol. 3A, 9.2.3). Changes the flags.</summary>
    public void Barrier() => Bytes([0xF0, 0x83, 0x0C, 0x24, 0x00]); // lock or dword [rsp], 0

    /// <summary>For <see cref="JumpForward"/>: CALL instead of a jump.</summary>
    public const int CallCondition = -2;

    /// <summary>Jcc (0-15), JMP (-1) or CALL (-2) to a place not known yet. Returns where its 32-bit displacement stands.</summary>
    public byte* JumpForward(int condition)
    {
        if (condition < 0)
        {
            Byte(condition == CallCondition ? 0xE8 : 0xE9);
        }
        else
        {
            Word((ushort)(0x800F | (condition << 8)));
        }

        Dword(0);
        return _cursor - 4;
    }

    /// <summary>A no-operation of up to three bytes, so that the displacement of the <see cref="JumpForward"/> that follows is aligned to its size.</summary>
    public void AlignDisplacement(int condition)
    {
        int opcode = condition < 0 ? 1 : 2;
        switch ((4 - (int)((ulong)Here + (uint)opcode & 3)) & 3)
        {
            case 1:
                Byte(0x90);
                break;
            case 2:
                Word(0x9066);
                break;
            case 3:
                Bytes([0x0F, 0x1F, 0x00]);
                break;
        }
    }

    /// <summary>Makes a <see cref="JumpForward"/> go to the present place.</summary>
    public void Land(byte* displacement) => Unsafe.WriteUnaligned(displacement, (int)(_cursor - (displacement + 4)));

    /// <summary>Short Jcc or JRCXZ (opcode 0xE3) to a place not known yet.</summary>
    public byte* ShortForward(int opcode)
    {
        Byte(opcode);
        Byte(0);
        return _cursor - 1;
    }

    public void LandShort(byte* displacement) => *displacement = checked((byte)(sbyte)(_cursor - (displacement + 1)));

    /// <summary>What lies before the block is a thunk.</summary>
    private void Relative(byte* target)
    {
        if (target < ToExecutable(_start))
        {
            Relocations.Add(RelocationKind.Thunk, Offset, checked((int)(target - Region)));
        }

        Dword(checked((int)(target - (Here + 4))));
    }

    /// <summary>What a ModR/M byte says instead of a base, where a SIB byte follows; and the base that only that one can name.</summary>
    private const int NeedsSib = 4;

    private const int NoSib = -1;

    /// <summary>The prefix, if it is needed, and the opcode of one to three bytes. Returns where to go on: what of an instruction is common writes <see cref="_cursor"/> once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Head(int rex, bool needed, int opcode)
    {
        byte* at = _cursor;
        if (needed)
        {
            *at++ = (byte)rex;
        }

        if (opcode > 0xFF)
        {
            if (opcode > 0xFFFF)
            {
                *at++ = (byte)(opcode >> 16);
            }

            *at++ = (byte)(opcode >> 8);
        }

        *at = (byte)opcode;
        return at + 1;
    }

    /// <summary>A memory operand. Writes up to four bytes behind its end as well. Returns its end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* Operand(byte* at, int reg, int rm, int sib, int @base, int disp)
    {
        (int mod, int width) = disp == 0 && (@base & 7) != 5 ? (0, 0) : disp == (sbyte)disp ? (0x40, sizeof(sbyte)) : (0x80, sizeof(int));
        *at++ = (byte)(mod | ((reg & 7) << 3) | rm);
        if (sib != NoSib)
        {
            *at++ = (byte)sib;
        }

        Unsafe.WriteUnaligned(at, disp);
        return at + width;
    }
}
