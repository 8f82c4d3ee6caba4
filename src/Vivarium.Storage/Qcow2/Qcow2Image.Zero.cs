namespace Vivarium.Storage.Qcow2;

/// <content>Discarding and writing zeroes.</content>
internal sealed unsafe partial class Qcow2Image
{
    private const int ZeroesAtOnce = 1 << 16;

    private static readonly byte[] Zeroes = GC.AllocateArray<byte>(ZeroesAtOnce, pinned: true);

    private enum ZeroIntent
    {
        /// <summary>The content may be anything; nothing is spent to change it.</summary>
        Discard,

        /// <summary>Zeroes, and no space kept.</summary>
        Unmap,

        /// <summary>Zeroes, in the space that is there.</summary>
        Keep,
    }

    private protected override void DiscardCore(long offset, long length)
    {
        long first = offset + ClusterSize - 1 >> ClusterBits;
        long end = EndCluster(offset + length);
        if (first < end)
        {
            ZeroClusters(first, end, ZeroIntent.Discard);
        }
    }

    private protected override void WriteZeroesCore(long offset, long length, bool mayUnmap)
    {
        long end = offset + length;
        long firstCluster = offset + ClusterSize - 1 >> ClusterBits;
        long endCluster = EndCluster(end);
        if (firstCluster >= endCluster)
        {
            ZeroBytes(offset, length);
            return;
        }

        long whole = firstCluster << ClusterBits;
        ZeroBytes(offset, whole - offset);
        ZeroClusters(firstCluster, endCluster, mayUnmap ? ZeroIntent.Unmap : ZeroIntent.Keep);
        long wholeEnd = Math.Min(endCluster << ClusterBits, end);
        ZeroBytes(wholeEnd, end - wholeEnd);
    }

    /// <summary>The cluster at which a range ends; the disk's last cluster is whole even if the disk ends within it.</summary>
    private long EndCluster(long end) => (end == Length ? end + ClusterSize - 1 : end) >> ClusterBits;

    /// <summary>Zeroes within clusters: nothing where there is nothing, else in the file.</summary>
    private void ZeroBytes(long offset, long length)
    {
        while (length > 0)
        {
            Extent extent;
            lock (_gate)
            {
                extent = _map.Map(offset, length);
            }

            if (!IsEmptyAround(extent, offset))
            {
                WriteZeroData(offset, extent.Length);
            }

            offset += extent.Length;
            length -= extent.Length;
        }
    }

    private void WriteZeroData(long offset, long length)
    {
        while (length > 0)
        {
            int count = (int)Math.Min(length, ZeroesAtOnce);
            Write(offset, Zeroes.AsSpan(0, count));
            offset += count;
            length -= count;
        }
    }

    private void ZeroClusters(long first, long end, ZeroIntent intent)
    {
        while (first < end)
        {
            RelieveMetadata();
            Extent extent;
            int epoch = -1;
            long clusters;
            lock (_gate)
            {
                extent = _map.Map(first << ClusterBits, (end - first) << ClusterBits);
                clusters = extent.Length >> ClusterBits;
                switch (Treat(first, extent, intent))
                {
                    case Treatment.None:
                        break;
                    case Treatment.ZeroInFile:
                        epoch = _epochs.Enter();
                        break;
                    case Treatment.WriteData:
                        epoch = int.MaxValue;
                        break;
                    case Treatment.Unmap when TryUnmap(first, extent, ref clusters, intent):
                        break;
                    default:
                        continue;
                }
            }

            if (epoch == int.MaxValue)
            {
                long start = first << ClusterBits;
                WriteZeroData(start, Math.Min(clusters << ClusterBits, Length - start));
            }
            else if (epoch >= 0)
            {
                try
                {
                    _file.WriteZeroes(extent.HostOffset, clusters << ClusterBits);
                }
                finally
                {
                    _epochs.Leave(epoch);
                }
            }

            first += clusters;
        }
    }

    private enum Treatment
    {
        None,
        Unmap,
        ZeroInFile,
        WriteData,
    }

    /// <summary>What is to be done about a run of whole clusters.</summary>
    private Treatment Treat(long cluster, Extent extent, ZeroIntent intent)
    {
        bool hasBacking = _backing is not null && cluster << ClusterBits < _backing.Length;
        switch (extent.Kind)
        {
            case ClusterKind.Zero:
                // A zero cluster may have space; giving that back is what the guest asks for.
                return (extent.Entry & L2Entry.OffsetMask) != 0 && intent != ZeroIntent.Keep ? Treatment.Unmap : Treatment.None;
            case ClusterKind.Unallocated when !hasBacking || intent == ZeroIntent.Discard:
                return Treatment.None;
            case ClusterKind.Normal when intent == ZeroIntent.Keep && extent.IsWritableInPlace:
                return Treatment.ZeroInFile;
            default:
                // Version 2 cannot hide the backing file's content but by data.
                return _header.Version >= 3 || !hasBacking ? Treatment.Unmap
                    : intent == ZeroIntent.Discard ? Treatment.None
                    : Treatment.WriteData;
        }
    }

    /// <summary>
    /// Takes clusters out of the mapping. False if one was being moved, or if nothing could be done in one go: the mapping is
    /// to be looked at again.
    /// </summary>
    private bool TryUnmap(long first, Extent extent, ref long clusters, ZeroIntent intent)
    {
        clusters = Math.Min(clusters, _map.SliceClusters - (first & (_map.SliceClusters - 1)));
        if (!TryAvoidMoving(first, ref clusters))
        {
            return false;
        }

        BeginLazy();
        _map.MakeWritable(first, _epochs.Current);
        bool hasBacking = _backing is not null && first << ClusterBits < _backing.Length;
        _map.Set(first, clusters, hasBacking ? L2Entry.Zero : 0, 0, _epochs.Current);
        return true;
    }
}
