using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Where each cluster of the disk lies in the file (qcow2.txt, "Cluster mapping"): the L1 table, held whole, and the L2
/// tables, of which slices are cached. Changes are in memory until the owner writes them back. Not thread-safe.
/// </summary>
internal sealed unsafe class ClusterMap : IDisposable
{
    private const int MaxSliceSize = 4096;
    private const int MaxCacheBytes = 32 << 20;
    private const int MinCachedSlices = 64;

    private static readonly List<int> s_none = [];

    private readonly HostFile _file;
    private readonly Qcow2Header _header;
    private readonly Refcounts? _refcounts;
    private readonly long _fileEnd;
    private readonly ulong[] _l1;
    private readonly int _clusterBits;
    private readonly int _l2Bits;
    private readonly int _sliceBits;

    /// <param name="file">The image.</param>
    /// <param name="header">Its header.</param>
    /// <param name="refcounts">Where clusters come from; null for reading only.</param>
    /// <param name="fileEnd">The file's end, in whole clusters, when it was opened.</param>
    public ClusterMap(HostFile file, Qcow2Header header, Refcounts? refcounts, long fileEnd)
    {
        _file = file;
        _header = header;
        _refcounts = refcounts;
        _fileEnd = fileEnd;
        _clusterBits = header.ClusterBits;
        _l2Bits = _clusterBits - 3;
        int sliceSize = Math.Min(MaxSliceSize, header.ClusterSize);
        _sliceBits = System.Numerics.BitOperations.Log2((uint)sliceSize) - 3;
        long needed = ((header.Size >> (_clusterBits + _sliceBits)) + 1);
        Slices = new TableCache(file, sliceSize, (int)Math.Clamp(needed, MinCachedSlices, MaxCacheBytes / sliceSize));
        _l1 = BigEndianTable.Read(file, header.L1TableOffset, header.L1Size);
    }

    public TableCache Slices { get; }

    /// <summary>Entries of the L1 table that the file does not have yet.</summary>
    public List<int> ChangedL1 { get; private set; } = [];

    /// <summary>The clusters that one slice of an L2 table maps.</summary>
    public int SliceClusters => 1 << _sliceBits;

    private long FileEnd => _refcounts?.FileEnd ?? _fileEnd;

    public ulong L1(int index) => _l1[index];

    /// <summary>The longest run from a byte of the disk on that lies in one piece.</summary>
    /// <exception cref="DiskImageException">A table is malformed.</exception>
    public Extent Map(long offset, long length)
    {
        int clusterSize = _header.ClusterSize;
        long cluster = offset >> _clusterBits;
        long inCluster = offset & (clusterSize - 1);
        ulong first = Lookup(cluster, out long same);
        ClusterKind kind = L2Entry.Kind(first, _header.Version);
        long mapped = (same << _clusterBits) - inCluster;
        if (kind != ClusterKind.Compressed)
        {
            while (mapped < length)
            {
                ulong next = Lookup(cluster + same, out long more);
                bool continues = L2Entry.Kind(next, _header.Version) == kind
                    && (kind != ClusterKind.Normal || next == first + ((ulong)same << _clusterBits));
                if (!continues)
                {
                    break;
                }

                same += more;
                mapped += more << _clusterBits;
            }
        }

        return new Extent(kind, first, (long)(first & L2Entry.OffsetMask) + inCluster, Math.Min(mapped, length));
    }

    /// <summary>The entry of a cluster of the disk, and how many from it on are certainly alike (not allocated).</summary>
    /// <exception cref="DiskImageException">A table is malformed.</exception>
    public ulong Lookup(long cluster, out long same)
    {
        int l1Index = (int)(cluster >> _l2Bits);
        ulong l1Entry = l1Index < _l1.Length ? _l1[l1Index] : 0;
        if ((l1Entry & L2Entry.OffsetMask) == 0)
        {
            same = (1L << _l2Bits) - (cluster & ((1L << _l2Bits) - 1));
            return 0;
        }

        same = 1;
        ulong entry = *Entry(TableOffset(l1Index), cluster, out _);
        entry = BinaryPrimitives.ReverseEndianness(entry);
        if (L2Entry.Kind(entry, _header.Version) == ClusterKind.Normal)
        {
            long host = (long)(entry & L2Entry.OffsetMask);
            if ((host & (_header.ClusterSize - 1)) != 0 || host >= FileEnd)
            {
                throw Refcounts.Corrupt(_file.Path, $"cluster {cluster} of the disk is said to be at byte {host}");
            }

            if ((entry & L2Entry.Copied) != 0 && OverlapsTables(host))
            {
                throw Refcounts.Corrupt(_file.Path, $"cluster {cluster} of the disk lies on the image's own tables");
            }
        }

        return entry;
    }

    /// <summary>Sees to it that the L2 table of a cluster exists and belongs to the disk alone, so that entries can be set.</summary>
    /// <exception cref="IOException">The host fails, or a table is malformed.</exception>
    public void MakeWritable(long cluster, long epoch)
    {
        int l1Index = (int)(cluster >> _l2Bits);
        if ((_l1[l1Index] & L2Entry.Copied) != 0)
        {
            return;
        }

        int clusterSize = _header.ClusterSize;
        long old = (_l1[l1Index] & L2Entry.OffsetMask) == 0 ? 0 : TableOffset(l1Index);
        long table = _refcounts!.Allocate(1, out _, out bool isFresh);
        try
        {
            if (old != 0)
            {
                // A snapshot has it too: its clusters keep their counts, since the copy refers to them in its place.
                byte[] copy = System.Buffers.ArrayPool<byte>.Shared.Rent(clusterSize);
                _file.Read(old, copy.AsSpan(0, clusterSize));
                _file.Write(table, copy.AsSpan(0, clusterSize));
                System.Buffers.ArrayPool<byte>.Shared.Return(copy);
            }
            else if (!isFresh)
            {
                _file.WriteZeroes(table, clusterSize);
            }
        }
        catch
        {
            _refcounts.Release(table, 1);
            throw;
        }

        Slices.Forget(table, clusterSize);
        if (old != 0)
        {
            _refcounts.GiveUp(old, clusterSize, epoch);
        }

        _l1[l1Index] = (ulong)table | L2Entry.Copied;
        ChangedL1.Add(l1Index);
    }

    /// <summary>
    /// Replaces the entries of <paramref name="count"/> clusters from one on, all in one slice of a table that
    /// <see cref="MakeWritable"/> has prepared, and gives up what they referred to.
    /// </summary>
    /// <param name="cluster">The first.</param>
    /// <param name="count">How many.</param>
    /// <param name="value">The first one's entry.</param>
    /// <param name="step">What each further one's is more.</param>
    /// <param name="epoch">The epoch of transfers now.</param>
    public void Set(long cluster, long count, ulong value, int step, long epoch)
    {
        ulong* entries = Entry(TableOffset((int)(cluster >> _l2Bits)), cluster, out int slot);
        for (long i = 0; i < count; i++)
        {
            ulong old = BinaryPrimitives.ReverseEndianness(entries[i]);
            entries[i] = BinaryPrimitives.ReverseEndianness(value);
            value += (ulong)step;
            GiveUp(old, epoch);
        }

        Slices.MarkDirty(slot);
    }

    public List<int> TakeChangedL1()
    {
        if (ChangedL1.Count == 0)
        {
            return s_none;
        }

        List<int> taken = ChangedL1;
        ChangedL1 = [];
        return taken;
    }

    public void Dispose() => Slices.Dispose();

    private void GiveUp(ulong old, long epoch)
    {
        if ((old & L2Entry.Compressed) != 0)
        {
            (long offset, int length) = L2Entry.CompressedRange(old, _clusterBits);
            _refcounts!.GiveUp(offset, length, epoch);
        }
        else if ((old & L2Entry.OffsetMask) != 0)
        {
            _refcounts!.GiveUp((long)(old & L2Entry.OffsetMask), _header.ClusterSize, epoch);
        }
    }

    private ulong* Entry(long table, long cluster, out int slot)
    {
        long inTable = cluster & ((1L << _l2Bits) - 1);
        slot = Slices.Get(table + ((inTable >> _sliceBits) * Slices.SliceSize));
        return (ulong*)Slices.Data(slot) + (inTable & ((1L << _sliceBits) - 1));
    }

    private long TableOffset(int l1Index)
    {
        long offset = (long)(_l1[l1Index] & L2Entry.OffsetMask);
        if ((offset & (_header.ClusterSize - 1)) != 0 || offset >= FileEnd || OverlapsTables(offset))
        {
            throw Refcounts.Corrupt(_file.Path, $"entry {l1Index} of its L1 table is {_l1[l1Index]:X}");
        }

        return offset;
    }

    /// <summary>Whether a cluster of the file is the header, or part of the L1 or the refcount table.</summary>
    private bool OverlapsTables(long offset) =>
        offset < _header.ClusterSize
        || (offset >= _header.L1TableOffset && offset < _header.L1TableOffset + ((long)_header.L1Size * sizeof(ulong)))
        || (offset >= _header.RefcountTableOffset && offset < _header.RefcountTableOffset + ((long)_header.RefcountTableClusters << _clusterBits));
}
