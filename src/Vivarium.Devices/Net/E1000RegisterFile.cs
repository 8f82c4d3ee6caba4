using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>The registers of an 82540EM that keep a value, and what they hold after a reset.</summary>
internal sealed class E1000RegisterFile(byte[] mac)
{
    private const int Count = (int)E1000Registers.End / sizeof(uint);

    private static readonly (uint Register, uint Value)[] s_defaults =
    [
        // Set link up, 1000 Mb/s, and two of the software-definable pins.
        (E1000Registers.Ctrl, 0x0014_0240),
        (E1000Registers.Status, E1000Registers.StatusUp),
        (E1000Registers.Ledctl, 0x0706_8302),

        // 48 KB of the packet buffer for what is received.
        (E1000Registers.Pba, 0x0010_0030),
        (E1000Registers.Manc, 0x0001_0000),
    ];

    private readonly uint[] _values = new uint[Count];

    public ref uint this[uint register] => ref _values[register / sizeof(uint)];

    /// <summary>A base address of two registers.</summary>
    public ulong Address(uint low) => (ulong)this[low + sizeof(uint)] << 32 | (this[low] & ~0xFu);

    public void Reset()
    {
        _values.AsSpan().Clear();
        foreach (var (register, value) in s_defaults)
            this[register] = value;
        this[E1000Registers.FirstAddress] = BinaryPrimitives.ReadUInt32LittleEndian(mac);
        this[E1000Registers.FirstAddress + sizeof(uint)] = BinaryPrimitives.ReadUInt16LittleEndian(mac.AsSpan(sizeof(uint))) | E1000Registers.RahValid;
    }

    public uint[] Save() => [.. _values];

    public void Restore(uint[] values) => values.CopyTo(_values, 0);

    public static bool IsValid(uint[]? values) => values is { Length: Count };
}
