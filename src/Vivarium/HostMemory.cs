using System.Globalization;

namespace Vivarium;

/// <summary>How much memory the host has.</summary>
internal static class HostMemory
{
    /// <summary>Physical memory in bytes (MemTotal of proc(5)); null if the host does not say.</summary>
    public static ulong? Total { get; } = Read();

    private static ulong? Read()
    {
        try
        {
            foreach (string line in File.ReadLines("/proc/meminfo"))
            {
                if (line.StartsWith("MemTotal:", StringComparison.Ordinal)
                    && ulong.TryParse(line["MemTotal:".Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out ulong kib))
                {
                    return kib * ByteSize.KiB;
                }
            }
        }
        catch (IOException)
        {
            // A host without /proc: the reservation itself will say whether it fits.
        }

        return null;
    }
}
