using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>Writes an empty image into an empty file: header, L1 table, refcounts of these and of themselves.</summary>
internal static class Qcow2Creator
{
    /// <exception cref="DiskImageException">The disk is too large for its clusters, or the backing file's name too long.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static void Write(HostFile file, Qcow2Header header, string? backingFile, string? backingFormat)
    {
        if (header.Size > Qcow2Header.MaxSize(header.ClusterBits))
        {
            throw new DiskImageException($"a disk of {header.Size} bytes is too large for clusters of {header.ClusterSize} bytes; use larger clusters");
        }

        long entries = Qcow2Header.L1EntriesFor(header.Size, header.ClusterBits);
        long tableClusters = ((entries * sizeof(ulong)) + header.ClusterSize - 1) >> header.ClusterBits;
        header.L1Size = (int)entries;
        header.L1TableOffset = header.ClusterSize;
        var references = new ReferenceMap();
        references.AddRange(0, (1 + tableClusters) << header.ClusterBits, header.ClusterBits);

        // The L1 table is all zeroes: a hole, below what follows.
        RefcountBuilder.Build(file, header, references, 1 + tableClusters);
        byte[] first = header.Write(backingFile, backingFormat);
        file.Write(0, first.AsSpan(0, first.AsSpan().LastIndexOfAnyExcept((byte)0) + 1));
    }
}
