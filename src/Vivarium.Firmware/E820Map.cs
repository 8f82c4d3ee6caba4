namespace Vivarium.Firmware;

/// <summary>The memory map of a machine, sorted by address, without overlaps.</summary>
public static class E820Map
{
    private const ulong Page = 0x1000;

    public static IReadOnlyList<E820Entry> Build(PlatformLayout layout)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(layout.MemorySize, PlatformLayout.MinimumMemorySize);
        var map = new List<E820Entry>
        {
            Range(0, PlatformLayout.ConventionalMemoryEnd, E820Type.Ram),
            Range(PlatformLayout.ConventionalMemoryEnd, PlatformLayout.OneMebibyte, E820Type.Reserved),
            Range(PlatformLayout.OneMebibyte, layout.AcpiAreaStart, E820Type.Ram),
            Range(layout.AcpiAreaStart, layout.AcpiNvsStart, E820Type.AcpiReclaimable),
            Range(layout.AcpiNvsStart, layout.RamBelow4G, E820Type.AcpiNvs),
            new(PlatformLayout.IoApicBase, Page, E820Type.Reserved),
        };
        if (layout.HasHpet)
        {
            map.Add(new E820Entry(PlatformLayout.HpetBase, Page, E820Type.Reserved));
        }

        map.Add(new E820Entry(PlatformLayout.LocalApicBase, Page, E820Type.Reserved));
        if (layout.RamAbove4G != 0)
        {
            map.Add(new E820Entry(PlatformLayout.HighRamStart, layout.RamAbove4G, E820Type.Ram));
        }

        return map;
    }

    private static E820Entry Range(ulong start, ulong end, E820Type type) => new(start, end - start, type);
}
