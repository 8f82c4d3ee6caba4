using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vivarium.Storage;
using Vivarium.Storage.Qcow2;
using Vivarium.Storage.Tools;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk info</c>: what there is to know about an image and those under it.</summary>
internal static class DiskInfoVerb
{
    public static Command Build()
    {
        var file = new Argument<string>("file") { Description = "A disk image" };
        Option<string?> format = DiskVerb.FormatOption("--format", "Its format (default: found from its content)");
        var json = new Option<bool>("--json") { Description = "Print a JSON object" };
        var info = new Command("info", "Describe a disk image.") { file, format, json };
        info.SetAction(parsed => DiskVerb.Run(() =>
            Show(DiskTool.Info(parsed.GetValue(file)!, DiskVerb.ParseFormat(parsed.GetValue(format))), parsed.GetValue(json))));
        return info;
    }

    private static void Show(ImageInfo info, bool json)
    {
        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(info, DiskJson.Default.ImageInfo));
            return;
        }

        IAnsiConsole console = Report.Create();
        for (ImageInfo? image = info; image is not null; image = image.Backing)
        {
            var table = new Table().Border(TableBorder.None).HideHeaders().AddColumns("", "");
            foreach ((string name, string text) in Lines(image))
            {
                table.AddRow(new Text(name), new Text(text));
            }

            console.Write(table);
        }
    }

    private static IEnumerable<(string Name, string Text)> Lines(ImageInfo image)
    {
        yield return ("image", image.Path);
        yield return ("format", image.Qcow2 is { } version ? $"qcow2 version {version.Version}" : "raw");
        yield return ("disk size", $"{ByteSize.Format((ulong)image.Size)} ({image.Size.ToString(CultureInfo.InvariantCulture)} bytes)");
        yield return ("space taken", ByteSize.Format((ulong)image.AllocatedSize));
        if (image.Qcow2 is not { } qcow2)
        {
            yield break;
        }

        yield return ("clusters", $"{ByteSize.Format((ulong)qcow2.ClusterSize)}, refcounts of {qcow2.RefcountBits} bits{(qcow2.LazyRefcounts ? ", lazy" : "")}, compression {qcow2.Compression.ToString().ToLowerInvariant()}");
        if (qcow2.IsDirty)
        {
            yield return ("state", "was not closed; it is put in order when it is next opened for writing");
        }

        if (qcow2.IsCorrupt)
        {
            yield return ("state", $"corrupt; it can be read only, until viv disk check --repair {image.Path}");
        }

        if (qcow2.BackingFile is { } backing)
        {
            yield return ("on top of", $"{backing} ({qcow2.BackingFormat ?? "format not said"})");
        }

        if (image.BackingProblem is { } problem)
        {
            yield return ("problem", problem);
        }

        foreach (DiskSnapshot snapshot in qcow2.Snapshots)
        {
            yield return ("snapshot", $"{snapshot.Id} {snapshot.Name}, {snapshot.Taken.ToString("u", CultureInfo.InvariantCulture)}{(snapshot.MachineStateSize > 0 ? ", with machine state" : "")}");
        }
    }
}

/// <summary>"raw", "qcow2".</summary>
internal sealed class FormatNames() : JsonStringEnumConverter<ImageFormat>(JsonNamingPolicy.CamelCase);

/// <summary>"zlib", "zstd".</summary>
internal sealed class CompressionNames() : JsonStringEnumConverter<CompressionType>(JsonNamingPolicy.CamelCase);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, Converters = [typeof(FormatNames), typeof(CompressionNames)], DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ImageInfo))]
[JsonSerializable(typeof(CheckReport))]
internal sealed partial class DiskJson : JsonSerializerContext;
