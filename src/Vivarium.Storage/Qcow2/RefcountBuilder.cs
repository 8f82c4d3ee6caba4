using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Writes refcount blocks and their table anew, past all clusters in use, for new images and for repair. The header decides
/// when they come into force.
/// </summary>
internal static unsafe class RefcountBuilder
{
    /// <summary>Writes table and blocks and sets the header's fields in memory; they count themselves.</summary>
    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="references">The references to everything but table and blocks, which are added.</param>
    /// <param name="firstFree">A cluster past the end of the file.</param>
    /// <exception cref="IOException">The host fails, or the table would be larger than allowed, or a count does not fit.</exception>
    public static void Build(HostFile file, Qcow2Header header, ReferenceMap references, long firstFree)
    {
        int order = header.RefcountOrder;
        long perBlock = (long)header.ClusterSize << 3 >> order;
        long perTableCluster = header.ClusterSize / sizeof(ulong);
        var needed = new SortedSet<long>(references.All().Select(reference => reference.Cluster / perBlock));
        long tableClusters = 0;

        // More blocks need more clusters, which need more blocks: soon enough there is no change.
        for (long own = 0, counted = -1; own != counted;)
        {
            counted = own;
            for (long index = firstFree / perBlock; index <= (firstFree + own) / perBlock; index++)
            {
                needed.Add(index);
            }

            tableClusters = (needed.Max / perTableCluster) + 1;
            own = needed.Count + tableClusters;
        }

        if (tableClusters > Qcow2Header.MaxRefcountTableBytes >> header.ClusterBits)
        {
            throw new IOException($"{file.Path} would need a refcount table that is larger than allowed; use larger clusters");
        }

        for (long i = 0; i < needed.Count + tableClusters; i++)
        {
            references.Add(firstFree + i);
        }

        ulong max = order == 6 ? ulong.MaxValue : (1UL << (1 << order)) - 1;
        var table = new ulong[tableClusters * perTableCluster];
        byte[] block = new byte[header.ClusterSize];
        long offset = (firstFree + tableClusters) << header.ClusterBits;
        foreach (long index in needed)
        {
            Array.Clear(block);
            fixed (byte* pointer = block)
            {
                for (int entry = 0; entry < perBlock; entry++)
                {
                    uint count = references[(index * perBlock) + entry];
                    if (count > max)
                    {
                        throw new DiskImageException($"{file.Path} refers {count} times to one cluster, which its refcounts of {1 << order} bits cannot count");
                    }

                    RefcountEntry.Write(pointer, entry, order, count);
                }
            }

            file.Write(offset, block.AsSpan(0, block.AsSpan().LastIndexOfAnyExcept((byte)0) + 1));
            table[index] = (ulong)offset;
            offset += header.ClusterSize;
        }

        // What is not written is past the end of the file: zeroes.
        BigEndianTable.Write(file, firstFree << header.ClusterBits, table.AsSpan(0, (int)needed.Max + 1));
        file.SetLength(offset);
        header.RefcountTableOffset = firstFree << header.ClusterBits;
        header.RefcountTableClusters = (int)tableClusters;
    }
}
