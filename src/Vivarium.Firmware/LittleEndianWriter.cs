using System.Buffers.Binary;

namespace Vivarium.Firmware;

/// <summary>Appends the little-endian fields of a firmware structure, in the order in which its specification lists them.</summary>
internal sealed class LittleEndianWriter
{
    // Terms within terms have one each, and most are short.
    private byte[] _buffer = new byte[32];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Written => _buffer.AsSpan(0, Length);

    public void U8(byte value) => Room(1)[0] = value;

    public void U16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Room(2), value);

    public void U32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Room(4), value);

    public void U64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Room(8), value);

    public void Bytes(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Room(bytes.Length));

    /// <summary>Appends zeros up to offset <paramref name="length"/>.</summary>
    public void PadTo(int length) => Room(length - Length).Clear();

    public byte[] ToArray() => Written.ToArray();

    private Span<byte> Room(int count)
    {
        int start = Length;
        if (_buffer.Length - start < count)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, start + count));
        }

        Length += count;
        return _buffer.AsSpan(start, count);
    }
}
