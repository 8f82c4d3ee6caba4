using Vivarium.Engine.Software;
using Xunit;

namespace Vivarium.Engine.Tests;

public class EngineOptionsTests
{
    [Fact]
    public void NothingSaidIsTheDefault() => Assert.Equal(EngineOptions.Default, EngineOptions.Parse(""));

    [Fact]
    public void EachNameSwitchesItsOptimizationOnly()
    {
        foreach ((string name, Optimizations optimization, _) in EngineOptions.Names)
        {
            Assert.Equal(Optimizations.All & ~optimization, EngineOptions.Parse("no-" + name).Optimizations);
            Assert.Equal(optimization, EngineOptions.Parse("none," + name).Optimizations);
        }
    }

    [Fact]
    public void EveryOptimizationHasOneName()
        => Assert.Equal(
            Enum.GetValues<Optimizations>().Except([Optimizations.None, Optimizations.All]).Order(),
            EngineOptions.Names.Select(known => known.Optimization).Order());

    [Theory]
    [InlineData("1M", 1L << 20)]
    [InlineData("2048K", 2L << 20)]
    [InlineData("128M", 128L << 20)]
    public void CodeCacheSizes(string text, long bytes) => Assert.Equal(bytes, EngineOptions.Parse("code-cache=" + text).CodeCacheBytes);

    [Fact]
    public void ChaosHasASeedAndASmallCodeCacheUnlessAnotherIsGiven()
    {
        Assert.Equal((7u, 16L << 20), (EngineOptions.Parse("chaos=7").ChaosSeed, EngineOptions.Parse("chaos=7").CodeCacheBytes));
        Assert.Equal(2L << 20, EngineOptions.Parse("code-cache=2M,chaos=7").CodeCacheBytes);
        Assert.Equal(8L << 20, EngineOptions.Parse("chaos=7,code-cache=8M").CodeCacheBytes);
        Assert.Null(EngineOptions.Default.ChaosSeed);
    }

    [Theory]
    [InlineData("chaos=", "needs a number as seed")]
    [InlineData("chaos=-1", "needs a number as seed")]
    [InlineData("chaos", "known are all, none")]
    [InlineData("speed", "known are all, none")]
    [InlineData("no-", "known are all, none")]
    [InlineData("linking,no-no-linking", "'no-no-linking'")]
    [InlineData("code-cache=", "1M to 128M")]
    [InlineData("code-cache=0", "1M to 128M")]
    [InlineData("code-cache=-1", "1M to 128M")]
    [InlineData("code-cache=129M", "1M to 128M")]
    [InlineData("code-cache=99999999999999999999M", "1M to 128M")]
    public void WhatIsWrongIsSaid(string text, string said)
        => Assert.Contains(said, Assert.Throws<FormatException>(() => EngineOptions.Parse(text)).Message, StringComparison.Ordinal);
}
