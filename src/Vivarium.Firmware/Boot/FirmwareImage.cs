using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// Firmware as it comes in a file: the bytes of a ROM that ends at 4 GiB, in which a processor begins 16 bytes before the end
/// (SDM vol. 3A, 10.1.4).
/// </summary>
public sealed class FirmwareImage
{
    /// <summary>What there is room for between the APICs and 4 GiB.</summary>
    public const ulong MostBytes = 15 << 20;

    private const string WayOut = "give --firmware bios, uefi, or a file for a PC, such as bios-256k.bin";

    private FirmwareImage(string name, byte[] bytes)
    {
        Name = name;
        Bytes = bytes;
    }

    /// <summary>Where it came from.</summary>
    public string Name { get; }

    /// <summary>A whole number of pages.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <exception cref="BootException">It cannot be read, or cannot be firmware; the message says why.</exception>
    public static FirmwareImage Load(string path)
    {
        using var file = ImageFile.Open(path, "firmware image");
        if (file.Length is 0 or > MostBytes)
        {
            throw new BootException(file.Length == 0
                ? $"the firmware {path} is empty; {WayOut}"
                : $"{path} has {ByteSize.Text(file.Length)}, and firmware has at most {ByteSize.Text(MostBytes)}; {WayOut}");
        }

        byte[] bytes = file.ReadPart(0, file.Length);
        return (ulong)bytes.Length % GuestMemory.PageSize == 0
            ? new FirmwareImage(path, bytes)
            : throw new BootException($"{path} has {bytes.Length} bytes, and firmware is a whole number of 4 KiB pages; {WayOut}");
    }
}
