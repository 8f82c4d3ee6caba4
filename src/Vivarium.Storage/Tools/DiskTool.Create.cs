using System.Numerics;
using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

/// <summary>What can be done with disks that no machine is using.</summary>
public static partial class DiskTool
{
    /// <summary>Makes an empty disk. The file appears when it is complete, or not at all.</summary>
    /// <exception cref="DiskImageException">The file exists, its folder does not, the options make no sense, or the backing file cannot be used.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static void Create(string path, CreateOptions options)
    {
        CheckClusterSize(options.ClusterSize);
        if (options.Format == ImageFormat.Raw && options.BackingFile is not null)
        {
            throw new DiskImageException("a raw disk cannot have a backing file; use format qcow2");
        }

        RefuseExisting(path);
        long? size = options.Size;
        string? backingName = null;
        ImageFormat? backingFormat = options.BackingFormat;
        if (options.BackingFile is { } backingFile)
        {
            using DiskImage backing = DiskImage.Open(backingFile, new DiskImageOptions { Format = backingFormat, ReadOnly = true });
            size ??= backing.Length;
            backingFormat = backing.Format;
            backingName = NameFor(path, backingFile);
        }

        if (size is not > 0 or > long.MaxValue - (1 << Qcow2Header.MaxClusterBits))
        {
            throw new DiskImageException(size is null ? "say how large the disk shall be" : $"a disk of {size} bytes cannot be made; its size must be more than 0 and fit in 63 bits");
        }

        using HostFile file = NewFile(path);
        long sectors = (size.Value + DiskImage.SectorSize - 1) / DiskImage.SectorSize;
        MakeEmpty(file, options, sectors * DiskImage.SectorSize, backingName, backingFormat);
        file.Publish(path);
    }

    private static void MakeEmpty(HostFile file, CreateOptions options, long size, string? backingName, ImageFormat? backingFormat)
    {
        if (options.Format == ImageFormat.Raw)
        {
            file.SetLength(size);
            return;
        }

        var header = new Qcow2Header
        {
            ClusterBits = BitOperations.Log2((uint)options.ClusterSize),
            Size = size,
            CompatibleFeatures = options.LazyRefcounts ? Qcow2Header.CompatibleLazyRefcounts : 0,
            IncompatibleFeatures = options.CompressionType == CompressionType.Zlib ? 0 : Qcow2Header.IncompatibleCompressionType,
            CompressionType = options.CompressionType,
        };
        Qcow2Creator.Write(file, header, backingName, backingFormat == ImageFormat.Raw ? "raw" : "qcow2");
    }

    private static void CheckClusterSize(int size)
    {
        if (size is < 1 << Qcow2Header.MinClusterBits or > 1 << Qcow2Header.MaxClusterBits || !BitOperations.IsPow2(size))
        {
            throw new DiskImageException($"clusters of {size} bytes are not possible; use a power of two from 512 to 2 MiB");
        }
    }

    private static void RefuseExisting(string path)
    {
        if (Path.Exists(path))
        {
            throw HostFile.AlreadyThere(path);
        }
    }

    private static HostFile NewFile(string path) =>
        HostFile.CreateUnnamed(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", path);

    /// <summary>How an image names its backing file: from its own folder on, if the user gave a relative path.</summary>
    private static string NameFor(string path, string backingFile) => Path.IsPathRooted(backingFile)
        ? backingFile
        : Path.GetRelativePath(Path.GetDirectoryName(Path.GetFullPath(path))!, Path.GetFullPath(backingFile));
}
