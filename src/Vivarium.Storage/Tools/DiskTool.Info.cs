using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

public static partial class DiskTool
{
    /// <summary>Describes an image and those under it. Works on images in use: what it reads does not change under a machine.</summary>
    /// <exception cref="DiskImageException">The image is missing, malformed or unsupported.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static ImageInfo Info(string path, ImageFormat? format = null) => Info(path, format, new BackingChain());

    private static ImageInfo Info(string path, ImageFormat? format, BackingChain chain)
    {
        using HostFile file = HostFile.Open(path, readOnly: true);
        chain.Enter(file);
        if ((format ?? ImageProbe.Detect(file)) == ImageFormat.Raw)
        {
            using var raw = new RawImage(file, isReadOnly: true, isProbed: false);
            return new ImageInfo { Path = path, Format = ImageFormat.Raw, Size = raw.Length, AllocatedSize = file.AllocatedLength };
        }

        Qcow2Header header = Qcow2Header.Read(file);
        var qcow2 = new Qcow2Info
        {
            Version = header.Version,
            ClusterSize = header.ClusterSize,
            RefcountBits = 1 << header.RefcountOrder,
            Compression = header.CompressionType,
            LazyRefcounts = header.HasLazyRefcounts,
            IsDirty = header.IsDirty,
            IsCorrupt = header.IsCorrupt,
            BackingFile = header.BackingFile,
            BackingFormat = header.BackingFormat,
            Snapshots = [.. SnapshotTable.Read(file, header).Entries.Select(entry => entry.Description)],
        };
        var info = new ImageInfo { Path = path, Format = ImageFormat.Qcow2, Size = header.Size, AllocatedSize = file.AllocatedLength, Qcow2 = qcow2 };
        if (header.BackingFile is null)
        {
            return info;
        }

        try
        {
            ImageFormat? backingFormat = BackingFile.Format(path, header);
            return info with { Backing = Info(BackingFile.Resolve(path, header.BackingFile), backingFormat, chain) };
        }
        catch (IOException e)
        {
            return info with { BackingProblem = e.Message };
        }
    }
}
