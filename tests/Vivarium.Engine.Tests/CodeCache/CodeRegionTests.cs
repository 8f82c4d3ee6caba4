using Vivarium.Engine.Software.Host;
using Vivarium.Memory.Host;
using Xunit;

namespace Vivarium.Engine.Tests.CodeCache;

/// <summary>Memory for translations, in huge pages or without.</summary>
public sealed unsafe class CodeRegionTests
{
    private const byte Return = 0xC3;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_is_written_runs_wherever_it_stands(bool hugePages)
    {
        using var region = new CodeRegion(hugePages);
        for (long offset = 0; offset < 5 << 20; offset += 4096)
        {
            region.Prepare(region.Executable + offset + 1);
            region.Writable[offset] = Return;
            ((delegate* unmanaged<void>)(region.Executable + offset))();
        }

        region.ForgetWritable(region.Executable + (5 << 20));
        for (long offset = 0; offset < 5 << 20; offset += 4096)
        {
            Assert.Equal(Return, region.Writable[offset]);
        }
    }

    [Fact]
    public void What_was_written_before_the_memory_was_prepared_stays()
    {
        using var region = new CodeRegion(hugePages: true);
        region.Writable[1] = Return;
        region.Prepare(region.Executable + 4096);
        Assert.Equal((0, Return), (region.Executable[0], region.Executable[1]));
    }

    [Fact]
    public void All_of_it_can_be_prepared()
    {
        using var region = new CodeRegion(hugePages: true);
        region.Prepare(region.Executable + CodeRegion.Size + 4096);
        region.Writable[CodeRegion.Size - 1] = Return;
        ((delegate* unmanaged<void>)(region.Executable + CodeRegion.Size - 1))();
    }

    /// <summary>The host has no huge page where one mapping begins in the middle of it.</summary>
    [Fact]
    public void Both_mappings_begin_with_a_huge_page()
    {
        using var first = new CodeRegion(hugePages: true);
        using var second = new CodeRegion(hugePages: true);
        foreach (CodeRegion region in (CodeRegion[])[first, second])
        {
            Assert.Equal(0u, (nuint)region.Executable % HugePages.Size);
            Assert.Equal(0u, (nuint)region.Writable % HugePages.Size);
        }
    }
}
