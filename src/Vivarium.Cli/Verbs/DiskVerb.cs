using System.CommandLine;
using Vivarium.Storage;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv disk</c>: makes disk images, tells about them, copies, resizes and checks them.</summary>
internal static class DiskVerb
{
    private const string Examples = """
        Examples:
          viv disk create web.qcow2 20G                     an empty disk; its file grows as it is written
          viv disk create web.qcow2 --backing debian.qcow2  begins with the content of another disk, which stays as it is
          viv disk info web.qcow2                           sizes, format, the disks under it, snapshots
          viv disk convert disk.img disk.qcow2              copy a raw disk into a qcow2 image
          viv disk resize web.qcow2 +10G                    then grow the partition and file system in the guest
          viv disk check web.qcow2                          is everything in the image where it should be?

        Use a disk with: viv run debian --disk web.qcow2

        """;

    private const string Create = """
        Examples:
          viv disk create web.qcow2 20G
          viv disk create plain.img 4G --format raw
          viv disk create web.qcow2 --backing debian.qcow2         as large as the disk under it
          viv disk create web.qcow2 40G --backing debian.img --backing-format raw

        A disk under another one must not be written any more: it is part of all disks made on it.

        """;

    private const string Info = """
        Examples:
          viv disk info web.qcow2
          viv disk info web.qcow2 --json

        This works on a disk in use, too.

        """;

    private const string Convert = """
        Examples:
          viv disk convert disk.img disk.qcow2                     raw to qcow2
          viv disk convert web.qcow2 web.img --format raw          qcow2 to raw; zeroes take no space
          viv disk convert web.qcow2 small.qcow2 --compress --compression zstd
          viv disk convert overlay.qcow2 whole.qcow2               with all that the disks under it have

        The new file appears when it is complete. Snapshots are not copied.

        """;

    private const string Resize = """
        Examples:
          viv disk resize web.qcow2 40G
          viv disk resize web.qcow2 +10G
          viv disk resize web.qcow2 10G --shrink     make the file systems on it smaller first: the end is lost

        """;

    private const string Check = """
        Examples:
          viv disk check web.qcow2
          viv disk check web.qcow2 --repair
          viv disk check web.qcow2 --json

        Exit status:
          0  sound (leaked clusters cost space, and nothing else)
          1  corrupt: do not write to it before it is repaired
          2  not a disk that can be checked, or in use

        """;

    public static Command Build()
    {
        var disk = new Command("disk", "Make, describe, copy, resize and check disk images.")
        {
            DiskCreateVerb.Build(),
            DiskInfoVerb.Build(),
            DiskConvertVerb.Build(),
            DiskResizeVerb.Build(),
            DiskCheckVerb.Build(),
        };
        disk.SetAction(SayWhatToDo);
        return disk;
    }

    /// <summary>What people type, for the help of this verb and those under it; null for other commands.</summary>
    public static string? ExamplesFor(Command command) => command.Name switch
    {
        "disk" => Examples,
        _ when !command.Parents.Any(parent => parent.Name == "disk") => null,
        "create" => Create,
        "info" => Info,
        "convert" => Convert,
        "resize" => Resize,
        "check" => Check,
        _ => null,
    };

    /// <summary>Runs a verb; an image that cannot be used is wrong input, and not a failure of the host.</summary>
    public static int Run(Action verb)
    {
        try
        {
            verb();
            return ExitStatus.Success;
        }
        catch (DiskImageException e)
        {
            throw new InvalidInputException(e.Message, e);
        }
    }

    public static Option<string?> FormatOption(string name, string description) => new(name) { HelpName = "raw|qcow2", Description = description };

    public static Option<string> ClusterSizeOption() => new("--cluster-size") { HelpName = "SIZE", Description = "Unit of allocation of a qcow2 image, 512 to 2M", DefaultValueFactory = _ => "64K" };

    public static Option<bool> LazyRefcountsOption() => new("--lazy-refcounts") { Description = "Count clusters in use when the image is closed, or after a crash when it is opened: faster flushes" };

    public static Option<string> CompressionOption() => new("--compression") { HelpName = "zlib|zstd", Description = "How compressed clusters are compressed", DefaultValueFactory = _ => "zlib" };

    public static ImageFormat? ParseFormat(string? name) => name is null ? null : ImageProbe.Parse(name);

    public static CompressionType ParseCompression(string name) => name switch
    {
        "zlib" => CompressionType.Zlib,
        "zstd" => CompressionType.Zstd,
        _ => throw new InvalidInputException($"'{name}' is no compression that viv knows; use zlib or zstd"),
    };

    public static long ParseSize(string text) => ByteSize.TryParse(text, out ulong size) && size <= long.MaxValue
        ? (long)size
        : throw new InvalidInputException($"'{text}' is no size; write a number of bytes, or of K, M, G or T, for example 20G");

    public static int ParseClusterSize(string text) => (int)Math.Min(ParseSize(text), int.MaxValue);

    private static int SayWhatToDo(ParseResult parsed) =>
        throw new InvalidInputException("say what to do with disks, for example: viv disk create web.qcow2 20G (viv disk --help shows all)");
}
