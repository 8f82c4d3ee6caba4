using CsCheck;

namespace Vivarium.Firmware.Tests;

public sealed class E820MapTests
{
    [Fact]
    public void A_machine_of_4_GiB_has_its_RAM_on_both_sides_of_the_hole()
    {
        E820Entry[] map = [.. E820Map.Build(new PlatformLayout { MemorySize = 4ul << 30 })];
        Assert.Equal(
            [
                new(0, 0x9_FC00, E820Type.Ram),
                new(0x9_FC00, 0x6_0400, E820Type.Reserved),
                new(0x10_0000, 0xBFEF_0000, E820Type.Ram),
                new(0xBFFF_0000, 0xF000, E820Type.AcpiReclaimable),
                new(0xBFFF_F000, 0x1000, E820Type.AcpiNvs),
                new(0xFEC0_0000, 0x1000, E820Type.Reserved),
                new(0xFED0_0000, 0x1000, E820Type.Reserved),
                new(0xFEE0_0000, 0x1000, E820Type.Reserved),
                new(0x1_0000_0000, 0x4000_0000, E820Type.Ram),
            ],
            map);
    }

    [Fact]
    public void Ranges_are_sorted_apart_and_cover_all_RAM() =>
        Gen.ULong[PlatformLayout.MinimumMemorySize, 1ul << 40].Sample(size =>
        {
            PlatformLayout layout = new() { MemorySize = size };
            ulong end = 0;
            ulong covered = 0;
            foreach (E820Entry entry in E820Map.Build(layout))
            {
                Assert.True(entry.Start >= end && entry.Length > 0 && entry.End > entry.Start);
                end = entry.End;
                bool backed = entry.End <= layout.RamBelow4G || entry.Start >= PlatformLayout.HighRamStart;
                Assert.True(backed || entry.Type == E820Type.Reserved);
                covered += backed ? entry.Length : 0;
            }

            Assert.Equal(layout.RamBelow4G + layout.RamAbove4G, covered);
        });
}
