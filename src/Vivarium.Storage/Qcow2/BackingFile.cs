using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>Finds and opens the file under an image.</summary>
internal static class BackingFile
{
    private const string JsonPrefix = "json:";
    private const string FilePrefix = "file:";

    /// <summary>The backing image, for reading; null if there is none.</summary>
    /// <exception cref="DiskImageException">It is missing, malformed, unsupported or being written; the chain is cyclic or too long.</exception>
    public static DiskImage? Open(string imagePath, Qcow2Header header, BackingChain chain)
    {
        if (header.BackingFile is null)
        {
            return null;
        }

        ImageFormat? format = Format(imagePath, header);
        string path = Resolve(imagePath, header.BackingFile);
        if (!File.Exists(path))
        {
            throw Directory.Exists(path)
                ? new DiskImageException($"{imagePath} names {path} as its backing file, but that is a folder")
                : new DiskImageException($"the backing file {path} of {imagePath} is not there; put it back, or name another with: qemu-img rebase -u");
        }

        DiskImage backing = DiskImage.OpenFile(path, format, readOnly: true, chain);
        if (format is null && backing is Qcow2Image { Backing: not null })
        {
            // A guest could have written this header, to be shown a file of the host (see ImageProbe).
            backing.Dispose();
            throw new DiskImageException($"{imagePath} does not say that its backing file {path} is qcow2, and that one names a further file; if it is right, say so with: qemu-img rebase -u -F qcow2 -b {header.BackingFile} {imagePath}");
        }

        return backing;
    }

    /// <summary>The format that an image records for its backing file; null if it records none.</summary>
    /// <exception cref="DiskImageException">It is one that is not supported.</exception>
    public static ImageFormat? Format(string imagePath, Qcow2Header header) => header.BackingFormat switch
    {
        null => null,
        "raw" or "file" or "host_device" => ImageFormat.Raw,
        "qcow2" => ImageFormat.Qcow2,
        string other => throw new DiskImageException($"{imagePath} has a backing file of format '{Shown(other)}', and viv knows raw and qcow2"),
    };

    /// <summary>The path of a backing file: relative ones begin at the folder of the image that names them.</summary>
    /// <exception cref="DiskImageException">The name means something other than a file.</exception>
    public static string Resolve(string imagePath, string name)
    {
        if (name.StartsWith(JsonPrefix, StringComparison.Ordinal))
        {
            throw new DiskImageException($"{imagePath} describes its backing file as JSON, which viv does not support; name a file with: qemu-img rebase -u");
        }

        string path = name.StartsWith(FilePrefix, StringComparison.Ordinal) ? name[FilePrefix.Length..] : name;
        int colon = path.IndexOf(':', StringComparison.Ordinal);
        if (colon > 0 && !path.AsSpan(0, colon).Contains('/'))
        {
            throw new DiskImageException($"{imagePath} has the backing file '{Shown(path)}', which is on the network or otherwise no file; viv supports files only");
        }

        return System.IO.Path.Combine(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(imagePath)) ?? "/", path);
    }

    private static string Shown(string text) => string.Concat(text.Where(c => !char.IsControl(c)));
}
