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
    /// <param name="firstFree">A cluster from which on there is nothing.</param>
    /// <exception cref="IOException">The host fails, or the table would be larger than allowed, or a count does not fit.</exception>
    public static void Build(HostFile file, Qcow2Header header, ReferenceMap references, long firstFree)
    {
        int order = header.RefcountOrder;
        long perBlock = (long)header.ClusterSize << 3 >> order;
        long perTableCluster = header.ClusterSize / sizeof(ulong);
        long blocks = 0;
        long tableClusters = 0;

        // More blocks need more clusters, which need more blocks: soon enough there is no change.
        while (true)
        {
            long clusters = firstFree + blocks + tableClusters;
            long neededBlocks = (clusters + perBlock - 1) / perBlock;
            long neededTable = Math.Max(1, (neededBlocks + perTableCluster - 1) / perTableCluster);
            if (neededBlocks == blocks && neededTable == tableClusters)
            {
                break;
            }

            blocks = neededBlocks;
            tableClusters = neededTable;
        }

        if (tableClusters << header.ClusterBits > Qcow2Header.MaxRefcountTableBytes)
        {
            throw new IOException($"{file.Path} would need a refcount table that is larger than allowed; use larger clusters");
        }

        for (long i = 0; i < blocks + tableClusters; i++)
        {
            references.Add(firstFree + i);
        }

        ulong max = order == 6 ? ulong.MaxValue : (1UL << (1 << order)) - 1;
        var table = new ulong[tableClusters * perTableCluster];
        byte[] block = new byte[header.ClusterSize];
        for (long i = 0; i < blocks; i++)
        {
            Array.Clear(block);
            fixed (byte* pointer = block)
            {
                for (int entry = 0; entry < perBlock; entry++)
                {
                    uint count = references[(i * perBlock) + entry];
                    if (count > max)
                    {
                        throw new DiskImageException($"{file.Path} refers {count} times to one cluster, which its refcounts of {1 << order} bits cannot count");
                    }

                    RefcountEntry.Write(pointer, entry, order, count);
                }
            }

            long offset = (firstFree + tableClusters + i) << header.ClusterBits;
            file.Write(offset, block);
            table[i] = (ulong)offset;
        }

        BigEndianTable.Write(file, firstFree << header.ClusterBits, table);
        header.RefcountTableOffset = firstFree << header.ClusterBits;
        header.RefcountTableClusters = (int)tableClusters;
    }
}
