using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

/// <summary>What disk to make.</summary>
public sealed record CreateOptions
{
    /// <summary>The disk's size in bytes, rounded up to whole sectors; null for the backing file's.</summary>
    public long? Size { get; init; }

    public ImageFormat Format { get; init; } = ImageFormat.Qcow2;

    /// <summary>The image to begin with, which is never written; qcow2 only.</summary>
    public string? BackingFile { get; init; }

    /// <summary>Its format; null to find it from its content (<see cref="ImageProbe"/>). The image records it.</summary>
    public ImageFormat? BackingFormat { get; init; }

    /// <summary>A power of two from 512 to 2 MiB; qcow2 only.</summary>
    public int ClusterSize { get; init; } = 65536;

    /// <summary>Count references only when the image is closed, and anew after a crash; qcow2 only.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>How clusters are compressed, if any are; qcow2 only.</summary>
    public CompressionType CompressionType { get; init; }
}
