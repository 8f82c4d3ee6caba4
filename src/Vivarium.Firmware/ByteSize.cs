using System.Globalization;

namespace Vivarium.Firmware;

/// <summary>Sizes as people write them.</summary>
internal static class ByteSize
{
    private const ulong Mebibyte = 1 << 20;

    /// <summary>"512 MiB", "1.5 MiB", "700 KiB", "12 bytes".</summary>
    public static string Text(ulong bytes) => bytes switch
    {
        >= Mebibyte when bytes % Mebibyte == 0 => $"{bytes / Mebibyte} MiB",
        >= Mebibyte => string.Create(CultureInfo.InvariantCulture, $"{(double)bytes / Mebibyte:0.0} MiB"),
        >= 1024 => $"{bytes / 1024} KiB",
        _ => $"{bytes} bytes",
    };

    /// <summary>The whole number of MiB that holds <paramref name="bytes"/>.</summary>
    public static string RoundedUp(ulong bytes) => $"{bytes / Mebibyte + (bytes % Mebibyte == 0 ? 0u : 1u)} MiB";
}
