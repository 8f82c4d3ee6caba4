namespace Vivarium;

/// <summary>What firmware may boot from. The values are those by which SeaBIOS knows them.</summary>
public enum BootDevice
{
    Floppy = 1,
    Disk = 2,
    Cd = 3,
    Network = 4,
}
