using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>How the 256 words of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE are filled in (ATA8-ACS, 7.16 and 7.17).</summary>
internal static class IdentifyWords
{
    public const int Serial = 10;
    public const int SerialLength = 20;
    public const int Firmware = 23;
    public const int FirmwareLength = 8;
    public const int Model = 27;
    public const int ModelLength = 40;


    public static void Set(Span<byte> data, int word, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(data[(word * sizeof(ushort))..], value);

    public static void Set32(Span<byte> data, int word, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(data[(word * sizeof(ushort))..], value);

    /// <summary>Text stands with the first character of each pair in the upper byte, filled up with blanks.</summary>
    public static void SetText(Span<byte> data, int word, int length, string text)
    {
        for (var i = 0; i < length; i++)
            data[word * sizeof(ushort) + (i ^ 1)] = i < text.Length ? (byte)text[i] : (byte)' ';
    }

    /// <summary>Supported modes of a kind in the lower byte, the selected one in the upper, if it is of this kind.</summary>
    public static ushort Modes(int highest, byte kind, byte selected)
    {
        var supported = (2 << highest) - 1;
        var chosen = (selected & ~TransferMode.Number) == kind ? 1 << (selected & TransferMode.Number) : 0;
        return (ushort)(chosen << 8 | supported);
    }
}
