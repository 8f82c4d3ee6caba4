using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

/// <summary>How to copy a disk into a new image.</summary>
public sealed record ConvertOptions
{
    /// <summary>The source's format; null to find it from its content (<see cref="ImageProbe"/>).</summary>
    public ImageFormat? SourceFormat { get; init; }

    /// <summary>The new image's format.</summary>
    public ImageFormat Format { get; init; } = ImageFormat.Qcow2;

    /// <summary>Compress each cluster; qcow2 only.</summary>
    public bool Compress { get; init; }

    /// <inheritdoc cref="CreateOptions.CompressionType"/>
    public CompressionType CompressionType { get; init; }

    /// <inheritdoc cref="CreateOptions.ClusterSize"/>
    public int ClusterSize { get; init; } = 65536;

    /// <inheritdoc cref="CreateOptions.LazyRefcounts"/>
    public bool LazyRefcounts { get; init; }
}
