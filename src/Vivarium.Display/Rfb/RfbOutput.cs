using System.Buffers.Binary;

namespace Vivarium.Display.Rfb;

/// <summary>A message in the making: numbers are big-endian (RFC 6143, 7).</summary>
internal sealed class RfbOutput
{
    private byte[] _bytes = new byte[4096];

    public int Length { get; private set; }

    public ReadOnlyMemory<byte> Memory => _bytes.AsMemory(0, Length);

    public ReadOnlySpan<byte> Span => _bytes.AsSpan(0, Length);

    public void Clear() => Length = 0;

    public void Byte(byte value) => Room(1)[0] = value;

    public void UInt16(int value) => BinaryPrimitives.WriteUInt16BigEndian(Room(2), (ushort)value);

    public void Int32(int value) => BinaryPrimitives.WriteInt32BigEndian(Room(4), value);

    public void Bytes(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Room(bytes.Length));

    public void Zeros(int count) => Room(count).Clear();

    /// <summary>A length and characters.</summary>
    public void Text(string text)
    {
        Int32(text.Length);
        System.Text.Encoding.Latin1.GetBytes(text, Room(text.Length));
    }

    /// <summary>Where a number was left out that is known only now.</summary>
    public void PatchUInt16(int at, int value) => BinaryPrimitives.WriteUInt16BigEndian(_bytes.AsSpan(at), (ushort)value);

    /// <summary>Room for so many bytes, to be filled.</summary>
    public Span<byte> Room(int count)
    {
        if (_bytes.Length - Length < count)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, Length + count));
        }

        Span<byte> room = _bytes.AsSpan(Length, count);
        Length += count;
        return room;
    }
}
