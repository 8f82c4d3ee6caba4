namespace Vivarium.Devices;

/// <summary>Drives as CMOS register 10h has them, four bits for each.</summary>
public enum FloppyDriveType : byte
{
    None = 0,
    Kilobytes360 = 1,
    Megabytes1200 = 2,
    Kilobytes720 = 3,
    Megabytes1440 = 4,
    Megabytes2880 = 5,
}
