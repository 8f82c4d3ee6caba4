namespace Vivarium.Devices;

/// <summary>The values of SET FEATURES, set transfer mode (ATA8-ACS, 7.45): which modes disks and packet devices here offer.</summary>
internal static class TransferMode
{
    public const byte PioFlowControl = 0x08;
    public const byte MultiwordDma = 0x20;
    public const byte UltraDma = 0x40;

    public const int MaxPio = 4;
    public const int MaxMultiword = 2;
    public const int MaxUltra = 5;

    /// <summary>What a device begins with.</summary>
    public const byte InitialDma = UltraDma | 2;

    /// <summary>Which mode of its kind.</summary>
    public const byte Number = 0x07;

    /// <summary>PIO without a mode's number: the default, and the default without IORDY.</summary>
    private const byte LastDefault = 0x01;

    /// <summary>Whether the mode is offered, and whether it is one of DMA.</summary>
    public static bool IsOffered(byte mode, out bool isDma)
    {
        var number = mode & Number;
        (bool offered, isDma) = (mode & ~Number) switch
        {
            0 => (number <= LastDefault, false),
            PioFlowControl => (number <= MaxPio, false),
            MultiwordDma => (number <= MaxMultiword, true),
            UltraDma => (number <= MaxUltra, true),
            _ => (false, false),
        };
        return offered;
    }
}
