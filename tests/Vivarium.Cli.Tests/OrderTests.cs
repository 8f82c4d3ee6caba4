using Vivarium.Guests.Tests;
using Vivarium.Profiling;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The order in which the native viv's methods stand in its file.</summary>
public sealed class OrderTests
{
    /// <summary>Methods come and go; when too many of the list are no more, or stand elsewhere, it wants to be made anew.</summary>
    [Fact]
    public void Nine_in_ten_methods_of_the_list_stand_together()
    {
        // The launcher builds it, if that has not been done.
        (int status, _, string errors) = VivProcess.Run("--version");
        Assert.True(status == 0, errors);
        var symbols = new List<GuestSymbols.Symbol>();
        using (FileStream native = File.OpenRead(Path.Combine(Repository.Root, "out", "viv", "viv")))
        {
            Assert.True(ElfSymbols.TryRead(native, symbols));
        }

        Assert.SkipUnless(symbols.Count > 10_000, "viv is not compiled ahead of time here (that needs a C linker)");
        HashSet<string> listed = [.. File.ReadLines(Path.Combine(Repository.Root, "src", "Vivarium.Cli", "viv.order")).Select(name => GuestSymbols.Clean(name))];
        GuestSymbols.Symbol[] called = [.. symbols.Where(symbol => listed.Contains(symbol.Name)).DistinctBy(symbol => symbol.Start).OrderBy(symbol => symbol.Start)];
        Assert.True(listed.Count > 1000);
        Assert.True(called.Length * 10 >= listed.Count * 9, $"run bench/profile/run order; {called.Length} of {listed.Count} methods are still there");
        ulong wholeSize = (ulong)called.Sum(symbol => (long)symbol.Size);
        ulong span = called[called.Length * 19 / 20].Start - called[called.Length / 20].Start;
        Assert.True(span < wholeSize * 5 / 4, $"{wholeSize} bytes of methods that are called are spread over {span}");
    }
}
