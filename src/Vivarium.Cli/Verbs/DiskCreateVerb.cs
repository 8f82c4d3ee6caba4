using System.CommandLine;
using Vivarium.Storage;
using Vivarium.Storage.Tools;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk create</c>: makes an empty disk, or one that begins with the content of another.</summary>
internal static class DiskCreateVerb
{
    public static Command Build()
    {
        var file = new Argument<string>("file") { Description = "The image to make" };
        var size = new Argument<string?>("size") { Description = "How large the disk is, for example 20G; that of the backing file if left out", DefaultValueFactory = _ => null };
        Option<string?> format = DiskVerb.FormatOption("--format", "How the disk lies in its file (default: qcow2)");
        var backing = new Option<string?>("--backing") { HelpName = "FILE", Description = "A disk whose content this one begins with" };
        Option<string?> backingFormat = DiskVerb.FormatOption("--backing-format", "Its format (default: found from its content)");
        Option<string> clusterSize = DiskVerb.ClusterSizeOption();
        Option<bool> lazy = DiskVerb.LazyRefcountsOption();
        Option<string> compression = DiskVerb.CompressionOption();
        var create = new Command("create", "Make an empty disk, or one on top of another.") { file, size, format, backing, backingFormat, clusterSize, lazy, compression };
        create.SetAction(parsed => DiskVerb.Run(() => DiskTool.Create(parsed.GetValue(file)!, new CreateOptions
        {
            Size = parsed.GetValue(size) is { } text ? DiskVerb.ParseSize(text) : null,
            Format = DiskVerb.ParseFormat(parsed.GetValue(format)) ?? ImageFormat.Qcow2,
            BackingFile = parsed.GetValue(backing),
            BackingFormat = DiskVerb.ParseFormat(parsed.GetValue(backingFormat)),
            ClusterSize = DiskVerb.ParseClusterSize(parsed.GetValue(clusterSize)!),
            LazyRefcounts = parsed.GetValue(lazy),
            CompressionType = DiskVerb.ParseCompression(parsed.GetValue(compression)!),
        })));
        return create;
    }
}
