using System.Buffers.Binary;
using System.Globalization;
using System.Text.RegularExpressions;
using Vivarium.Guests.Tests;
using Vivarium.Memory.Host;
using Vivarium.Profiling;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>How the native viv stands in its file, and in memory.</summary>
public sealed class NativeProgramTests
{
    /// <summary>
    /// Methods come and go; when too many of the list are no more, or stand elsewhere, it wants to be made anew, and startup.s to be told
    /// how much it is.
    /// </summary>
    [Fact]
    public void Nine_in_ten_methods_of_the_list_stand_together()
    {
        var symbols = new List<GuestSymbols.Symbol>();
        using (FileStream native = Open())
        {
            Assert.True(ElfSymbols.TryRead(native, symbols));
        }

        SkipIfNotNative(symbols);
        HashSet<string> listed = [.. File.ReadLines(Path.Combine(Repository.Root, "src", "Vivarium.Cli", "viv.order")).Select(name => GuestSymbols.Clean(name))];
        GuestSymbols.Symbol[] called = [.. symbols.Where(symbol => listed.Contains(symbol.Name)).DistinctBy(symbol => symbol.Start).OrderBy(symbol => symbol.Start)];
        Assert.True(listed.Count > 1000);
        Assert.True(called.Length * 10 >= listed.Count * 9, $"run bench/profile/run order; {called.Length} of {listed.Count} methods are still there");
        ulong wholeSize = (ulong)called.Sum(symbol => (long)symbol.Size);
        ulong span = called[called.Length * 19 / 20].Start - called[called.Length / 20].Start;
        Assert.True(span < wholeSize * 5 / 4, $"{wholeSize} bytes of methods that are called are spread over {span}");

        // They begin the section; the last few were placed elsewhere by the compiler.
        ulong together = called[called.Length * 98 / 100].Start - called[0].Start;
        Match told = Regex.Match(File.ReadAllText(Path.Combine(Repository.Root, "src", "Vivarium.Cli", "startup.s")), @"\.equ\s+listed_methods, (\d+)");
        Assert.InRange(ulong.Parse(told.Groups[1].Value, CultureInfo.InvariantCulture), together, together * 5 / 4);
    }

    /// <summary>Of a segment that startup.s asks huge pages for, and which has nothing in the file (System V ABI, "Program Header").</summary>
    [Fact]
    public void What_is_unpacked_at_the_start_has_whole_huge_pages()
    {
        const int headersOffset = 32, countOffset = 56, headerSize = 56, memorySizeOffset = 40, alignmentOffset = 48;
        var symbols = new List<GuestSymbols.Symbol>();
        using FileStream native = Open();
        Assert.True(ElfSymbols.TryRead(native, symbols));
        SkipIfNotNative(symbols);
        byte[] start = new byte[4096];
        native.Position = 0;
        native.ReadExactly(start);
        int headers = (int)BinaryPrimitives.ReadUInt64LittleEndian(start.AsSpan(headersOffset));
        int count = BinaryPrimitives.ReadUInt16LittleEndian(start.AsSpan(countOffset));
        byte[][] aligned = [.. Enumerable.Range(0, count)
            .Select(i => start[(headers + (i * headerSize))..(headers + ((i + 1) * headerSize))])
            .Where(header => header[0] == 1 && BinaryPrimitives.ReadUInt64LittleEndian(header.AsSpan(alignmentOffset)) == HugePages.Size)];
        ulong size = BinaryPrimitives.ReadUInt64LittleEndian(Assert.Single(aligned).AsSpan(memorySizeOffset));
        Assert.True(size >= HugePages.Size, $"{size} bytes");
    }

    private static FileStream Open()
    {
        // The launcher builds it, if that has not been done.
        (int status, _, string errors) = VivProcess.Run("--version");
        Assert.True(status == 0, errors);
        return File.OpenRead(Path.Combine(Repository.Root, "out", "viv", "viv"));
    }

    private static void SkipIfNotNative(List<GuestSymbols.Symbol> symbols)
        => Assert.SkipUnless(symbols.Count > 10_000, "viv is not compiled ahead of time here (that needs a C linker)");
}
