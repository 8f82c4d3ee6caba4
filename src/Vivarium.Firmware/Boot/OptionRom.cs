namespace Vivarium.Firmware.Boot;

/// <summary>
/// What a card's ROM holds (PCI Local Bus Specification 3.0, 6.3): a program that firmware copies below 1 MiB and runs, or a row of images,
/// of which each firmware takes what it knows.
/// </summary>
public sealed class OptionRom
{
    /// <summary>More than any card has.</summary>
    public const int MostBytes = 1 << 20;

    private const int LengthUnit = 512;

    private OptionRom(byte[] bytes) => Bytes = bytes;

    public ReadOnlyMemory<byte> Bytes { get; }

    /// <exception cref="BootException">It cannot be read, or is no such program; the message says why.</exception>
    public static OptionRom Load(string path)
    {
        byte[] bytes;
        try
        {
            using FileStream file = File.OpenRead(path);
            if (file.Length > MostBytes)
            {
                throw new BootException($"{path} has {ByteSize.Text((ulong)file.Length)}, and a card's ROM has at most {ByteSize.Text(MostBytes)}");
            }

            bytes = new byte[file.Length];
            file.ReadExactly(bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new BootException($"cannot read the card's ROM {path}: {e.Message}", e);
        }

        return bytes is [0x55, 0xAA, var length, ..] && length * LengthUnit <= bytes.Length
            ? new OptionRom(bytes)
            : throw new BootException($"{path} is no program for a card's ROM; one begins with the bytes 55 AA and its length");
    }
}
