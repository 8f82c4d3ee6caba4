using System.Globalization;
using System.Text;

namespace Vivarium.Cli.Statistics;

/// <summary>A machine's counters for people: since its start, or what came between two samples.</summary>
internal static class StatisticsTable
{
    private const int SitesShown = 3;

    /// <summary>In percent; what is rarer tells nothing.</summary>
    private const double SmallestShare = 1;

    /// <summary>Everything since the machine's start, or last reset.</summary>
    public static string Format(MachineSample sample) => Format(sample, since: null);

    /// <param name="sample">Now.</param>
    /// <param name="since">Before, of the same machine: counts and times are those since then, and counts are per second. Null: since the start.</param>
    public static string Format(MachineSample sample, MachineSample? since)
    {
        if (since is not null && since.Resets != sample.Resets)
        {
            // The counters began anew.
            since = null;
        }

        var text = new StringBuilder();
        double seconds = since is null ? 1 : Math.Max(sample.Clock - since.Clock, 1e-3);
        text.AppendLine(CultureInfo.InvariantCulture, $"{"engine",-32} {sample.Engine}");
        text.AppendLine(CultureInfo.InvariantCulture, $"{"resets",-32} {sample.Resets:N0}");
        AddTimes(text, sample, since);
        AddExits(text, sample.Total, since?.Total, seconds);
        AddCounts(text, sample, since, seconds);
        return text.ToString().TrimEnd('\n');
    }

    private static void AddTimes(StringBuilder text, MachineSample sample, MachineSample? since)
    {
        if (sample.Total.Time is null)
        {
            return;
        }

        text.AppendLine(CultureInfo.InvariantCulture, $"{"time",-32} {"guest",12} {"monitor",12} {"devices",12} {"idle",12}");
        for (int i = 0; i < sample.Processors.Count; i++)
        {
            Add($"  vCPU {i}", sample.Processors[i], since?.Processors.ElementAtOrDefault(i));
        }

        if (sample.Processors.Count > 1)
        {
            Add("  all", sample.Total, since?.Total);
        }

        void Add(string name, ProcessorSample now, ProcessorSample? before)
        {
            if (now.Time is not { } time)
            {
                return;
            }

            TimeSample past = before?.Time ?? new TimeSample(0, 0, 0, 0);
            double[] parts = [time.Guest - past.Guest, time.Monitor - past.Monitor, time.Devices - past.Devices, time.Idle - past.Idle];
            double all = parts.Sum();
            text.AppendLine($"{name,-32} {string.Join(' ', parts.Select(part => since is null ? Seconds(part).PadLeft(12) : Share(part, all).PadLeft(12)))}".TrimEnd());
        }
    }

    private static void AddExits(StringBuilder text, ProcessorSample now, ProcessorSample? before, double seconds)
    {
        bool timed = now.Time is not null;
        double waited = now.Time is { } time && before?.Time is { } past
            ? time.Guest + time.Monitor + time.Devices + time.Idle - (past.Guest + past.Monitor + past.Devices + past.Idle)
            : 0;
        var rows = new List<(string Name, double Count, double Time, ExitSample Exit)>();
        foreach ((Engine.ExitCause cause, string name) in CauseNames.All)
        {
            if (now.Exits.GetValueOrDefault(CauseNames.Json(cause)) is { } exit)
            {
                ExitSample? old = before?.Exits.GetValueOrDefault(CauseNames.Json(cause));
                rows.Add((name, (exit.Count - (old?.Count ?? 0)) / seconds, (exit.Seconds ?? 0) - (old?.Seconds ?? 0), exit));
            }
        }

        text.AppendLine($"{"exits",-32} {(before is null ? "count" : "per second"),12} {(timed ? "time" : ""),12}   {(timed ? "most often at" : "")}".TrimEnd());
        foreach ((string name, double count, double spent, ExitSample exit) in rows.OrderByDescending(row => row.Time).ThenByDescending(row => row.Count))
        {
            if (count > 0)
            {
                IEnumerable<string> sites = exit.Sites.Where(site => Share(site, exit) >= SmallestShare).Take(SitesShown)
                    .Select(site => string.Create(CultureInfo.InvariantCulture, $"{site.Rip} {Share(site, exit):0}%"));
                text.AppendLine($"  {name,-30} {Count(count),12} {Time(spent),12}   {string.Join("  ", sites)}".TrimEnd());
            }
        }

        text.AppendLine($"  {"all",-30} {Count(rows.Sum(row => row.Count)),12} {Time(rows.Sum(row => row.Time)),12}".TrimEnd());

        string Time(double spent) => !timed ? "" : before is null ? Seconds(spent) : Share(spent, waited);
    }

    /// <summary>A site's share of all exits for the reason whose place is known, in percent.</summary>
    private static double Share(SiteSample site, ExitSample exit) => 100.0 * site.Count / Math.Max(exit.Located, 1);

    private static void AddCounts(StringBuilder text, MachineSample sample, MachineSample? since, double seconds)
    {
        (ProcessorSample now, ProcessorSample? before) = (sample.Total, since?.Total);
        void Row(string name, Func<ProcessorSample, long> count)
            => text.AppendLine($"{name,-32} {Count((count(now) - (before is null ? 0 : count(before))) / seconds),12}");

        void Fixed(string name, string value) => text.AppendLine($"{name,-32} {value,12}");

        text.AppendLine(since is null ? "counts" : "counts, per second");
        Row("  TLB misses, first level", cpu => cpu.TlbMisses);
        Row("  TLB misses, second level", cpu => cpu.PageWalks);
        Row("  TLB flushes", cpu => cpu.TlbFlushes);
        Row("  TLB flushes of one page", cpu => cpu.TlbPageFlushes);
        Row("  dispatcher entries", cpu => cpu.DispatcherEntries);
        Row("  jumps linked", cpu => cpu.Links);
        Row("  blocks translated", cpu => cpu.BlocksTranslated);
        Row("    of them copied", cpu => cpu.BlocksCopied);
        Row("  instructions translated", cpu => cpu.InstructionsTranslated);
        Row("  bytes translated", cpu => cpu.GuestBytesTranslated);
        Row("  blocks invalidated", cpu => cpu.BlocksInvalidated);
        Row("  page faults", cpu => cpu.PageFaults);
        Row("  exceptions", cpu => cpu.Exceptions);
        Row("  interrupts", cpu => cpu.Interrupts);
        Row("  privileged instructions", cpu => cpu.PrivilegedInstructions);
        Row("  port accesses", cpu => cpu.PortAccesses);
        Row("  MMIO accesses", cpu => cpu.MmioAccesses);
        Row("  halts", cpu => cpu.Halts);
        text.AppendLine("since the start");
        Fixed("  port accesses without a device", Count(sample.UnclaimedPortAccesses));
        Fixed("  MMIO accesses without a device", Count(sample.UnclaimedMmioAccesses));
        Fixed("  code cache, used", $"{Mebibytes(sample.CodeCache.Used)} of {Mebibytes(sample.CodeCache.Capacity)}");
        Fixed("  code cache, blocks", Count(sample.CodeCache.Blocks));
        Fixed("  code cache, evictions", Count(sample.CodeCache.Evictions));
    }

    private static string Count(double value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Seconds(double value) => value.ToString("N3", CultureInfo.InvariantCulture) + " s";

    private static string Share(double part, double whole) => (whole <= 0 ? 0 : 100 * part / whole).ToString("N1", CultureInfo.InvariantCulture) + " %";

    private static string Mebibytes(long bytes) => (bytes / (double)ByteSize.MiB).ToString("N1", CultureInfo.InvariantCulture) + " MiB";
}
