namespace Vivarium.Devices;

/// <summary>How the data rate of a disk is chosen: DSR and CCR, lower two bits (82077AA data sheet, 2.1.6).</summary>
internal enum FloppyRate : byte
{
    Kilobits500 = 0,
    Kilobits300 = 1,
    Kilobits250 = 2,
    Megabits1 = 3,
}

/// <summary>A kind of floppy disk: sectors of 512 bytes.</summary>
/// <param name="Cylinders">Tracks on a side.</param>
/// <param name="Heads">Sides.</param>
/// <param name="Sectors">Sectors of a track.</param>
/// <param name="Drive">The drive that such disks are made for, as CMOS register 10h names it.</param>
public sealed record FloppyGeometry(byte Cylinders, byte Heads, byte Sectors, FloppyDriveType Drive)
{
    public const int SectorSize = 512;

    private static readonly FloppyGeometry[] s_known =
    [
        new(40, 1, 8, FloppyDriveType.Kilobytes360),
        new(40, 1, 9, FloppyDriveType.Kilobytes360),
        new(40, 2, 8, FloppyDriveType.Kilobytes360),
        new(40, 2, 9, FloppyDriveType.Kilobytes360),
        new(80, 2, 9, FloppyDriveType.Megabytes1440),
        new(80, 2, 15, FloppyDriveType.Megabytes1200),
        new(80, 2, 18, FloppyDriveType.Megabytes1440),
        new(80, 2, 21, FloppyDriveType.Megabytes1440),
        new(82, 2, 21, FloppyDriveType.Megabytes1440),
        new(80, 2, 36, FloppyDriveType.Megabytes2880),
    ];

    private static readonly FloppyGeometry s_usual = s_known[6];

    /// <summary>Size in bytes.</summary>
    public ulong Length => (ulong)Cylinders * Heads * Sectors * SectorSize;

    /// <summary>The sizes of <see cref="Of"/> in words.</summary>
    public static string Sizes => string.Join(", ", s_known.Select(geometry => $"{geometry.Length / 1024}K"));

    /// <summary>
    /// The kind of disk that an image of so many bytes is of; null if of none. Images of boot disks often end where what is
    /// on them ends: one of whole sectors that has more than half a 1440K disk, and no disk's size, is taken for such a one.
    /// </summary>
    public static FloppyGeometry? Of(ulong length)
    {
        var exact = Array.Find(s_known, geometry => geometry.Length == length);
        return exact is null && length % SectorSize == 0 && length > s_usual.Length / 2 && length < s_usual.Length ? s_usual : exact;
    }
}
