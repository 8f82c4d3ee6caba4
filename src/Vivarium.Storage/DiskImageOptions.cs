namespace Vivarium.Storage;

/// <summary>How to open a disk image.</summary>
public sealed record DiskImageOptions
{
    /// <summary>The format; null finds it from the content, which <see cref="ImageProbe"/> tells the danger of.</summary>
    public ImageFormat? Format { get; init; }

    /// <summary>Refuse writes, and share the file with others who only read it.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Keep all writes in a throw-away image that has no name and is gone with this process; the file itself is only read.
    /// </summary>
    public bool Overlay { get; init; }

    /// <summary>Where the throw-away image takes its space; null for $TMPDIR, else /var/tmp.</summary>
    public string? OverlayFolder { get; init; }
}
