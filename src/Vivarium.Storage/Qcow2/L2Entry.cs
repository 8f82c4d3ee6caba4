namespace Vivarium.Storage.Qcow2;

/// <summary>What an L2 table entry says about its cluster of the disk (qcow2.txt, "L2 table entry").</summary>
internal enum ClusterKind
{
    /// <summary>Not here: the backing file's content, or zeroes.</summary>
    Unallocated,

    /// <summary>All zeroes, whatever the backing file has.</summary>
    Zero,

    /// <summary>A cluster of the file.</summary>
    Normal,

    /// <summary>Compressed, anywhere in the file.</summary>
    Compressed,
}

/// <summary>The bits of L1 and L2 table entries.</summary>
internal static class L2Entry
{
    /// <summary>QCOW_OFLAG_COPIED: the cluster (or L2 table) is referred to once, so it may be written in place.</summary>
    public const ulong Copied = 1UL << 63;

    public const ulong Compressed = 1UL << 62;

    /// <summary>Reads as zeroes; version 3 only.</summary>
    public const ulong Zero = 1;

    /// <summary>Bits 9 to 55: where in the file.</summary>
    public const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;

    public static ClusterKind Kind(ulong entry, int version)
    {
        if ((entry & Compressed) != 0)
        {
            return ClusterKind.Compressed;
        }

        if ((entry & Zero) != 0 && version >= 3)
        {
            return ClusterKind.Zero;
        }

        return (entry & OffsetMask) == 0 ? ClusterKind.Unallocated : ClusterKind.Normal;
    }

    /// <summary>
    /// Where a compressed cluster's data lies: bits 0 to x - 1 are its byte offset and bits x to 61 its further sectors,
    /// where x = 62 - (cluster_bits - 8).
    /// </summary>
    public static (long Offset, int Length) CompressedRange(ulong entry, int clusterBits)
    {
        int x = 62 - (clusterBits - 8);
        long offset = (long)(entry & ((1UL << x) - 1));
        int sectors = (int)((entry & ~(Copied | Compressed)) >> x) + 1;
        return (offset, (sectors * DiskImage.SectorSize) - (int)(offset % DiskImage.SectorSize));
    }

    /// <summary>The entry of compressed data of that length.</summary>
    public static ulong ForCompressed(long offset, int length, int clusterBits)
    {
        int x = 62 - (clusterBits - 8);
        long firstSector = offset / DiskImage.SectorSize;
        long lastSector = (offset + length - 1) / DiskImage.SectorSize;
        return Compressed | ((ulong)(lastSector - firstSector) << x) | (ulong)offset;
    }
}

/// <summary>A run of the disk that lies in one piece, or in the same way nowhere.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Entry">The L2 entry of its first cluster.</param>
/// <param name="HostOffset">Where its first byte lies in the file, if it is <see cref="ClusterKind.Normal"/>.</param>
/// <param name="Length">In bytes; within one cluster if it is <see cref="ClusterKind.Compressed"/>.</param>
internal readonly record struct Extent(ClusterKind Kind, ulong Entry, long HostOffset, long Length)
{
    /// <summary>Whether a write may go straight to the file.</summary>
    public bool IsWritableInPlace => Kind == ClusterKind.Normal && (Entry & L2Entry.Copied) != 0;
}
