using System.CommandLine;
using System.Text.Json;
using Vivarium.Storage.Tools;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk check</c>: whether an image's tables agree with each other, and if not, makes them.</summary>
internal static class DiskCheckVerb
{
    public static Command Build()
    {
        var file = new Argument<string>("file") { Description = "A qcow2 image" };
        var repair = new Option<bool>("--repair") { Description = "Correct what is wrong" };
        var json = new Option<bool>("--json") { Description = "Print a JSON object" };
        var check = new Command("check", "Look whether a qcow2 image is sound, and repair it.") { file, repair, json };
        check.SetAction(parsed =>
        {
            bool isSound = true;
            int status = DiskVerb.Run(() =>
            {
                CheckReport report = DiskTool.Check(parsed.GetValue(file)!, parsed.GetValue(repair));
                isSound = report.Corruptions == 0;
                Show(parsed.GetValue(file)!, report, parsed.GetValue(json));
            });
            return isSound ? status : ExitStatus.Failure;
        });
        return check;
    }

    private static void Show(string file, CheckReport report, bool json)
    {
        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(report, DiskJson.Default.CheckReport));
            return;
        }

        foreach (string finding in report.Findings)
        {
            Console.Out.WriteLine(finding);
        }

        if (report.CorruptionsRepaired > 0 || report.LeaksRepaired > 0)
        {
            Console.Out.WriteLine($"repaired: {report.CorruptionsRepaired} corruptions, {report.LeaksRepaired} leaked clusters");
        }

        Console.Out.WriteLine(report switch
        {
            { Corruptions: > 0 } => $"corrupt: {report.Corruptions} corruptions, {report.Leaks} leaked clusters; repair it with: viv disk check --repair {file}",
            { Leaks: > 0 } => $"sound, but {report.Leaks} clusters are lost space; get it back with: viv disk check --repair {file}",
            _ => $"sound: {report.AllocatedClusters} of {report.TotalClusters} clusters in use, {report.CompressedClusters} of them compressed",
        });
    }
}
