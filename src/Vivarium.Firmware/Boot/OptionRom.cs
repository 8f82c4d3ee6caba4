namespace Vivarium.Firmware.Boot;

/// <summary>
/// What a card's ROM holds (PCI Local Bus Specification 3.0, 6.3): a program that firmware copies below 1 MiB and runs, or a row of images,
/// of which each firmware takes what it knows.
/// </summary>
public sealed class OptionRom
{
    /// <summary>More than any card has, in bytes.</summary>
    public const ulong MostBytes = 1 << 20;

    private const int LengthUnit = 512;

    private OptionRom(byte[] bytes) => Bytes = bytes;

    public ReadOnlyMemory<byte> Bytes { get; }

    /// <exception cref="BootException">It cannot be read, or is no such program; the message says why.</exception>
    public static OptionRom Load(string path)
    {
        using var file = ImageFile.Open(path, "ROM of a card");
        if (file.Length > MostBytes)
        {
            throw new BootException($"{path} has {ByteSize.Text(file.Length)}, and a card's ROM has at most {ByteSize.Text(MostBytes)}");
        }

        byte[] bytes = file.ReadPart(0, file.Length);
        return bytes is [0x55, 0xAA, var length, ..] && length * LengthUnit <= bytes.Length
            ? new OptionRom(bytes)
            : throw new BootException($"{path} is no program for a card's ROM; one begins with the bytes 55 AA and its length");
    }
}
