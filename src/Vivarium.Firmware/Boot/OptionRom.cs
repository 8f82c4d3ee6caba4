namespace Vivarium.Firmware.Boot;

/// <summary>The program in a card's ROM, which firmware copies below 1 MiB and runs (PCI Firmware Specification 3.0, 5; Plug and Play BIOS).</summary>
public sealed class OptionRom
{
    /// <summary>All that there is below 1 MiB for such programs, and more than firmware gives one of them.</summary>
    public const ulong MostBytes = 128 << 10;

    private const int LengthUnit = 512;

    private OptionRom(byte[] bytes) => Bytes = bytes;

    public ReadOnlyMemory<byte> Bytes { get; }

    /// <exception cref="BootException">It cannot be read, or is no such program; the message says why.</exception>
    public static OptionRom Load(string path)
    {
        using var file = ImageFile.Open(path, "ROM of a card");
        if (file.Length > MostBytes)
        {
            throw new BootException($"{path} has {ByteSize.Text(file.Length)}, and the program of a card's ROM has at most {ByteSize.Text(MostBytes)}");
        }

        byte[] bytes = file.ReadPart(0, file.Length);
        return bytes is [0x55, 0xAA, var length, ..] && length * LengthUnit <= bytes.Length
            ? new OptionRom(bytes)
            : throw new BootException($"{path} is no program for a card's ROM; one begins with the bytes 55 AA and its length");
    }
}
