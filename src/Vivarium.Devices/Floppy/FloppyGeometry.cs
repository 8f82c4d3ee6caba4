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

    /// <summary>Size in bytes.</summary>
    public ulong Length => (ulong)Cylinders * Heads * Sectors * SectorSize;

    /// <summary>The sizes of <see cref="Of"/> in words.</summary>
    public static string Sizes => string.Join(", ", s_known.Select(geometry => $"{geometry.Length / 1024}K"));

    /// <summary>The kind of disk that has so many bytes; null if none has.</summary>
    public static FloppyGeometry? Of(ulong length) => Array.Find(s_known, geometry => geometry.Length == length);
}
