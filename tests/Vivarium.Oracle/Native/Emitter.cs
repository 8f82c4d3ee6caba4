namespace Vivarium.Oracle.Native;

/// <summary>Writes the few machine-code shapes that the runner is made of. Memory is addressed absolutely: [disp32].</summary>
internal unsafe struct Emitter(byte* start)
{
    private readonly byte* _start = start;
    private byte* _at = start;

    public readonly ulong Address => (ulong)_at;

    public readonly int Length => (int)(_at - _start);

    public void Bytes(params ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(new Span<byte>(_at, bytes.Length));
        _at += bytes.Length;
    }

    public void Int32(int value)
    {
        *(int*)_at = value;
        _at += 4;
    }

    /// <summary>ModRM and SIB for [disp32] with the given reg field.</summary>
    public void Absolute(int reg, ulong address)
    {
        Bytes((byte)(0x04 | ((reg & 7) << 3)), 0x25);
        Int32(checked((int)address));
    }

    public void LoadGpr(int register, ulong address)
    {
        Bytes((byte)(register >= 8 ? 0x4C : 0x48), 0x8B);
        Absolute(register, address);
    }

    public void StoreGpr(int register, ulong address)
    {
        Bytes((byte)(register >= 8 ? 0x4C : 0x48), 0x89);
        Absolute(register, address);
    }

    /// <summary>MOV DWORD [address], imm32: leaves the flags alone.</summary>
    public void StoreImmediate(ulong address, int value)
    {
        Bytes(0xC7);
        Absolute(0, address);
        Int32(value);
    }

    /// <summary>JMP QWORD [address]: leaves registers and flags alone.</summary>
    public void JumpThrough(ulong address)
    {
        Bytes(0xFF);
        Absolute(4, address);
    }

    public void Jump(ulong target)
    {
        Bytes(0xE9);
        Int32((int)((long)target - (long)Address - 4));
    }

    /// <summary>Jcc rel32 forward; <see cref="Land"/> fixes the distance.</summary>
    public byte* JumpIf(byte condition)
    {
        Bytes(0x0F, (byte)(0x80 | condition));
        byte* place = _at;
        Int32(0);
        return place;
    }

    public readonly void Land(byte* place) => *(int*)place = (int)(_at - place - 4);
}
