using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv ps</c>: the machines of this user that run on this host.</summary>
internal static class PsVerb
{
    public static Command Build()
    {
        var all = new Option<bool>("--all", "-a") { Description = "Also background machines that ended badly, and why" };
        var json = new Option<bool>("--json") { Description = "Print a JSON array" };
        var ps = new Command("ps", "List the machines that run on this host.") { all, json };
        ps.SetAction(parsed => List(parsed.GetValue(all), parsed.GetValue(json)));
        return ps;
    }

    private static int List(bool all, bool json)
    {
        IReadOnlyList<MachineEntry> machines = MachineRegistry.Open().List(all);
        if (json)
        {
            IReadOnlyList<MachineRecord> records = [.. machines.Select(machine => machine.Record).OfType<MachineRecord>()];
            Console.Out.WriteLine(JsonSerializer.Serialize(records, MachineJson.Default.IReadOnlyListMachineRecord));
            return ExitStatus.Success;
        }

        var table = new Table().Border(TableBorder.None).AddColumns("name", "state", "guest", "memory", "up", "ports", "pid");
        foreach (MachineEntry machine in machines)
        {
            table.AddRow(Row(machine).Select(Markup.Escape).ToArray());
        }

        Report.Create().Write(table);
        return ExitStatus.Success;
    }

    private static string[] Row(MachineEntry machine) => machine.Record is not { } record
        ? [machine.Name, "starting", "", "", "", "", ""]
        :
        [
            record.Name,
            record.Ended is { } end ? $"ended ({end.Status}): {end.Reason}" : record.Stage == MachineStage.Starting ? "starting" : record.Background ? "background" : "foreground",
            Path.GetFileName(record.Guest),
            ByteSize.Format(record.Memory),
            record.Ended is null ? Age(DateTimeOffset.UtcNow - record.Started) : "",
            string.Join(' ', record.Forwards.Select(forward => $"{forward.Address}:{forward.HostPort}:{forward.GuestPort}{(forward.Protocol == "udp" ? "/udp" : "")}")),
            record.Ended is null ? record.Pid.ToString(CultureInfo.InvariantCulture) : "",
        ];

    private static string Age(TimeSpan age) => age switch
    {
        { TotalSeconds: < 0 } => "0s",
        { TotalMinutes: < 1 } => $"{(int)age.TotalSeconds}s",
        { TotalHours: < 1 } => $"{(int)age.TotalMinutes}m",
        { TotalDays: < 2 } => $"{(int)age.TotalHours}h{age.Minutes:00}m",
        _ => $"{(int)age.TotalDays}d",
    };
}
