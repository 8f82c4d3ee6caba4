using System.Text.Json;
using Vivarium.Cli.Statistics;
using Vivarium.Cli.Verbs;
using Vivarium.Engine.Tracing;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The words about traces and statistics, and how figures are shown.</summary>
public sealed class ObservingTests
{
    [Fact]
    public void A_trace_is_a_list_of_kinds_with_a_file_and_a_size()
    {
        Assert.Null(TraceOption.Parse(null, null, null));
        Assert.Equal(new TraceOption(TraceKinds.Exits, null, TraceSpec.DefaultSize), TraceOption.Parse("exits", null, null));
        Assert.Equal(
            new TraceOption(TraceKinds.Irq | TraceKinds.Mmio | TraceKinds.Pio | TraceKinds.Msr, "f", 1 << 20),
            TraceOption.Parse("irq, mmio,pio,msr", "f", "1M"));
        Assert.Equal(Path.GetFullPath("web.trace"), TraceOption.Parse("pio", null, null)!.For("web").Path);
        Assert.Equal("/x/y", TraceOption.Parse("pio", "/x/y", null)!.For("web").Path);
    }

    [Theory]
    [InlineData("bogus", null, null, "'bogus' is nothing that can be traced; known are exits, irq, mmio, pio, msr")]
    [InlineData("pio,", null, null, "'' is nothing that can be traced")]
    [InlineData("", null, null, "'' is nothing that can be traced")]
    [InlineData(null, "f", null, "--trace-file goes with --trace")]
    [InlineData(null, null, "1M", "--trace-size goes with --trace")]
    [InlineData("pio", "", null, "needs a file's name")]
    [InlineData("pio", null, "1K", "'1K' is no size for a trace")]
    [InlineData("pio", null, "much", "'much' is no size for a trace")]
    public void A_trace_that_is_none_is_explained(string? kinds, string? file, string? size, string explanation) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(() => TraceOption.Parse(kinds, file, size)).Message);

    [Fact]
    public void Perf_symbols_need_a_perf_map()
    {
        Assert.Null(RunOptions.ParsePerfMap(false, []));
        Assert.Equal(["a"], RunOptions.ParsePerfMap(true, ["a"])!.Symbols);
        Assert.Throws<InvalidInputException>(() => RunOptions.ParsePerfMap(false, ["a"]));
    }

    [Theory]
    [InlineData("99ms")]
    [InlineData("6s")]
    [InlineData("often")]
    public void Top_looks_neither_too_often_nor_too_rarely(string interval)
    {
        Assert.Contains("every 100ms to 5s", Assert.Throws<InvalidInputException>(() => TopVerb.ParseInterval(interval)).Message);
        Assert.Equal(TimeSpan.FromSeconds(2), TopVerb.ParseInterval("2s"));
    }

    [Fact]
    public void The_table_shows_totals_or_what_came_since()
    {
        MachineSample first = Sample(clock: 10, exits: 1000, seconds: 1, guest: 3), second = Sample(clock: 12, exits: 3000, seconds: 2, guest: 4);
        string totals = StatisticsTable.Format(second);
        Assert.Matches(@"port I/O +3,000 +2\.000 s   ffffffff81000000 75%", totals);
        Assert.Matches(@"vCPU 0 +4\.000 s", totals);
        Assert.Matches(@"code cache, used +1\.0 MiB of 4\.0 MiB", totals);
        Assert.DoesNotContain("MMIO)", totals);
        string since = StatisticsTable.Format(second, first);
        Assert.Matches(@"port I/O +1,000 +50\.0 %", since);
        Assert.Matches(@"vCPU 0 +50\.0 % +50\.0 %", since);

        // After a reset the counters began anew.
        Assert.Equal(totals.Replace("resets                           0", "resets                           1", StringComparison.Ordinal), StatisticsTable.Format(second with { Resets = 1 }, first));
    }

    [Fact]
    public void Json_has_everything_by_name()
    {
        using JsonDocument json = JsonDocument.Parse(JsonSerializer.Serialize(Sample(10, 1000, 1, 3), MachineSampleJson.Default.MachineSample));
        JsonElement exit = json.RootElement.GetProperty("total").GetProperty("exits").GetProperty("portIo");
        Assert.Equal((1000, "ffffffff81000000"), (exit.GetProperty("count").GetInt64(), exit.GetProperty("sites")[0].GetProperty("rip").GetString()));
        Assert.Equal(3, json.RootElement.GetProperty("processors")[0].GetProperty("time").GetProperty("guest").GetDouble());
        Assert.Equal(4 << 20, json.RootElement.GetProperty("codeCache").GetProperty("capacity").GetInt64());
    }

    private static MachineSample Sample(double clock, long exits, double seconds, double guest)
    {
        ProcessorSample processor = ProcessorSample.Take([], topSites: 1) with
        {
            Time = new TimeSample(guest, seconds, 0, 0),
            Exits = new Dictionary<string, ExitSample> { ["portIo"] = new(exits, seconds, 100, [new SiteSample("ffffffff81000000", 75)]) },
        };
        return new()
        {
            Clock = clock,
            Engine = "software",
            Resets = 0,
            CodeCache = new CodeCacheSample(4 << 20, 1 << 20, 5, 0),
            UnclaimedPortAccesses = 0,
            UnclaimedMmioAccesses = 0,
            Total = processor,
            Processors = [processor],
        };
    }
}
