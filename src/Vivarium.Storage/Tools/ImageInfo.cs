using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

/// <summary>What there is to know about an image without reading its data.</summary>
public sealed record ImageInfo
{
    public required string Path { get; init; }

    public required ImageFormat Format { get; init; }

    /// <summary>The disk's size in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>The space that the file takes on the host's disk, in bytes.</summary>
    public required long AllocatedSize { get; init; }

    /// <summary>What only qcow2 images have.</summary>
    public Qcow2Info? Qcow2 { get; init; }

    /// <summary>The image under it.</summary>
    public ImageInfo? Backing { get; init; }

    /// <summary>Why the image under it cannot be looked at.</summary>
    public string? BackingProblem { get; init; }
}

/// <summary>What there is to know about a qcow2 image.</summary>
public sealed record Qcow2Info
{
    /// <summary>2 or 3.</summary>
    public required int Version { get; init; }

    /// <summary>In bytes.</summary>
    public required int ClusterSize { get; init; }

    /// <summary>The width of a refcount.</summary>
    public required int RefcountBits { get; init; }

    public required CompressionType Compression { get; init; }

    public required bool LazyRefcounts { get; init; }

    /// <summary>It was not closed; its refcounts will be counted anew when it is next opened for writing.</summary>
    public required bool IsDirty { get; init; }

    /// <summary>It is marked as corrupt, and can only be read.</summary>
    public required bool IsCorrupt { get; init; }

    /// <summary>The backing file as the image names it.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The format recorded for it.</summary>
    public string? BackingFormat { get; init; }

    public required IReadOnlyList<DiskSnapshot> Snapshots { get; init; }
}
