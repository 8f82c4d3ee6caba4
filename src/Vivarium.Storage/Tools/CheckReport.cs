namespace Vivarium.Storage.Tools;

/// <summary>What a check of an image found.</summary>
public sealed record CheckReport
{
    /// <summary>Wrong metadata that can cost data: the image should not be written before it is repaired.</summary>
    public long Corruptions { get; init; }

    /// <summary>Clusters that are counted as used and are not: lost space, nothing worse.</summary>
    public long Leaks { get; init; }

    /// <summary>Corruptions that a repair has removed; <see cref="Corruptions"/> are those that remain.</summary>
    public long CorruptionsRepaired { get; init; }

    /// <summary>Leaks that a repair has removed; <see cref="Leaks"/> are those that remain.</summary>
    public long LeaksRepaired { get; init; }

    /// <summary>Clusters of the disk that have a place in the file.</summary>
    public long AllocatedClusters { get; init; }

    /// <summary>Clusters of the disk.</summary>
    public long TotalClusters { get; init; }

    /// <summary>Of those allocated, the compressed ones.</summary>
    public long CompressedClusters { get; init; }

    /// <summary>The first findings, in words.</summary>
    public IReadOnlyList<string> Findings { get; init; } = [];

    public bool IsClean => Corruptions == 0 && Leaks == 0;
}
