namespace Vivarium.Firmware;

/// <summary>
/// What firmware made for a virtual board is told of this one by name (QEMU Firmware Configuration Device specification; the names
/// are those that SeaBIOS and OVMF ask for).
/// </summary>
public static class FwCfgFiles
{
    public static IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Build(PlatformLayout layout) =>
        new Dictionary<string, ReadOnlyMemory<byte>>
        {
            ["etc/e820"] = MemoryMap(layout),
        };

    /// <summary>Where RAM is: start and length in 64 bits, type in 32. What firmware reserves of it is its own business.</summary>
    private static byte[] MemoryMap(PlatformLayout layout)
    {
        var map = new LittleEndianWriter();
        void Ram(ulong start, ulong length)
        {
            map.U64(start);
            map.U64(length);
            map.U32((uint)E820Type.Ram);
        }

        Ram(0, layout.RamBelow4G);
        if (layout.RamAbove4G != 0)
        {
            Ram(PlatformLayout.HighRamStart, layout.RamAbove4G);
        }

        return map.ToArray();
    }
}
