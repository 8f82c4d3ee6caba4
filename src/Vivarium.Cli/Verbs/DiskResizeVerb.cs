using System.CommandLine;
using Vivarium.Storage;
using Vivarium.Storage.Tools;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk resize</c>: makes a disk larger, or, when told twice, smaller.</summary>
internal static class DiskResizeVerb
{
    public static Command Build()
    {
        var file = new Argument<string>("file") { Description = "A disk image that no machine uses" };
        var size = new Argument<string>("size") { Description = "The new size, for example 40G; +10G for so much more" };
        var shrink = new Option<bool>("--shrink") { Description = "Allow a smaller size; what is at the end of the disk is lost" };
        Option<string?> format = DiskVerb.FormatOption("--format", "The image's format (default: found from its content)");
        var resize = new Command("resize", "Change the size of a disk.") { file, size, shrink, format };
        resize.SetAction(parsed => DiskVerb.Run(() =>
            Resize(parsed.GetValue(file)!, parsed.GetValue(size)!, DiskVerb.ParseFormat(parsed.GetValue(format)), parsed.GetValue(shrink))));
        return resize;
    }

    private static void Resize(string file, string size, ImageFormat? format, bool shrink)
    {
        long target = size.StartsWith('+')
            ? DiskTool.Info(file, format).Size + DiskVerb.ParseSize(size[1..])
            : DiskVerb.ParseSize(size);
        (long before, long after) = DiskTool.Resize(file, target, format, shrink);
        Console.Out.WriteLine($"{file}: {ByteSize.Format((ulong)before)} to {ByteSize.Format((ulong)after)}");
    }
}
