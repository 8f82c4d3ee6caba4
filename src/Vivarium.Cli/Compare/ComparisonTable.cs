using System.Globalization;
using Spectre.Console;
using Vivarium.Cli.Statistics;
using Vivarium.Engine;

namespace Vivarium.Cli.Compare;

/// <summary>A comparison for people.</summary>
internal static class ComparisonTable
{
    private const string NotMeasured = "-";

    public static Table Build(Comparison comparison)
    {
        (MachineFigures para, MachineFigures full) = (comparison.Para, comparison.Full);
        Table table = new Table().Border(TableBorder.Simple)
            .AddColumn(comparison.Guest)
            .AddColumn(new TableColumn("para").RightAligned())
            .AddColumn(new TableColumn("full").RightAligned())
            .AddColumn(new TableColumn("full : para").RightAligned());

        void Row(string name, Func<MachineFigures, double?> figure, Func<double, string> format)
        {
            (double? p, double? f) = (figure(para), figure(full));
            string ratio = p is > 0 && f is { } value ? (value / p.Value).ToString("0.00", CultureInfo.InvariantCulture) : "";
            table.AddRow(new Text(name), Right(p is { } a ? format(a) : NotMeasured), Right(f is { } b ? format(b) : NotMeasured), Right(ratio));
        }

        void Heading(string name) => table.AddRow(new Markup($"[bold]{name}[/]"));

        Row("boot time", m => m.Boot.Seconds, Seconds);
        Row("time for the work", m => m.Work.Seconds, Seconds);
        Heading("measured by the guest");
        table.AddRow(new Text("  clock source"), Right(para.Figures.ClockSource ?? NotMeasured), Right(full.Figures.ClockSource ?? NotMeasured));
        Row("  clock reads", m => m.Figures.ClockReadsPerSecond, value => Count(value) + "/s");
        Row("  context switches", m => m.Figures.ContextSwitchesPerSecond, value => Count(value) + "/s");
        Row("  disk, written", m => m.Figures.DiskWriteBytesPerSecond, Throughput);
        Row("  disk, read", m => m.Figures.DiskReadBytesPerSecond, Throughput);
        Row("  disk, reads of 4 KiB", m => m.Figures.DiskSmallReadsPerSecond, value => Count(value) + "/s");
        Heading("processor time, boot and work");
        Row("  guest", m => m.Boot.GuestSeconds + m.Work.GuestSeconds, Seconds);
        Row("  monitor", m => m.Boot.MonitorSeconds + m.Work.MonitorSeconds, Seconds);
        Row("  devices", m => m.Boot.DeviceSeconds + m.Work.DeviceSeconds, Seconds);
        Row("  idle", m => m.Boot.IdleSeconds + m.Work.IdleSeconds, Seconds);
        Heading("exits, boot and work");
        foreach ((ExitCause cause, string name) in CauseNames.All)
        {
            Row($"  {name}", m => Exits(m, cause), Count);
        }

        Row("  all", m => CauseNames.All.Sum(row => Exits(m, row.Cause)), Count);
        return table;
    }

    private static double Exits(MachineFigures machine, ExitCause cause)
    {
        string name = CauseNames.Json(cause);
        return machine.Boot.Exits[name] + machine.Work.Exits[name];
    }

    private static Text Right(string text) => new Text(text).RightJustified();

    private static string Seconds(double value) => value.ToString("0.000", CultureInfo.InvariantCulture) + " s";

    private static string Count(double value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Throughput(double value) => (value / (1 << 20)).ToString("N0", CultureInfo.InvariantCulture) + " MiB/s";
}
