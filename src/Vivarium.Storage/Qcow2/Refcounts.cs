using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// How often each cluster of the file is referred to (qcow2.txt, "Host cluster management"): a table of blocks of counts,
/// 1 to 64 bits wide. Finds free clusters, and makes blocks and table grow with the file. Changes are in memory until the
/// owner writes them back. Not thread-safe.
/// </summary>
internal sealed unsafe class Refcounts : IDisposable
{
    private const int SliceSize = 4096;
    private const int CacheBytes = 4 << 20;
    private const ulong BlockOffsetMask = ~0x1FFUL;

    private static readonly List<FreedRange> s_none = [];

    private readonly HostFile _file;
    private readonly Qcow2Header _header;
    private readonly TableCache _blocks;
    private readonly int _order;
    private readonly int _blockBits;
    private readonly int _sliceEntryBits;
    private ulong[] _table;
    private List<(int Index, ulong Entry)> _changedEntries = [];
    private long _nextFree;

    /// <exception cref="DiskImageException">The refcount table is malformed.</exception>
    public Refcounts(HostFile file, Qcow2Header header, long fileEnd)
    {
        _file = file;
        _header = header;
        _order = header.RefcountOrder;
        _blockBits = header.ClusterBits + 3 - _order;
        int sliceSize = Math.Min(SliceSize, header.ClusterSize);
        _sliceEntryBits = System.Numerics.BitOperations.Log2((uint)sliceSize) + 3 - _order;
        _blocks = new TableCache(file, sliceSize, CacheBytes / sliceSize);
        FileEnd = fileEnd;
        _table = BigEndianTable.Read(file, header.RefcountTableOffset, ((long)header.RefcountTableClusters << header.ClusterBits) / sizeof(ulong));
    }

    /// <summary>Where the file ends, in whole clusters: nothing from here on has ever been written.</summary>
    public long FileEnd { get; private set; }

    public bool IsCrowded => _blocks.IsCrowded;

    /// <summary>The table has a new place, which the header does not tell yet.</summary>
    public bool IsTableMoved { get; private set; }

    /// <summary>The largest count that fits.</summary>
    public ulong Max => _order == 6 ? ulong.MaxValue : (1UL << (1 << _order)) - 1;

    /// <summary>Given up and waiting until neither the file's metadata nor a transfer refers to them.</summary>
    public List<FreedRange> Freed { get; private set; } = [];

    private int ClusterBits => _header.ClusterBits;

    /// <summary>The references to a cluster, by its number.</summary>
    /// <exception cref="DiskImageException">The block of counts is malformed.</exception>
    public ulong Get(long cluster)
    {
        long block = BlockOffset(cluster);
        return block == 0 ? 0 : RefcountEntry.Read(Slice(block, cluster, out _), IndexInSlice(cluster), _order);
    }

    /// <summary>
    /// Takes 1 to <paramref name="wanted"/> free clusters in a row, each then with one reference.
    /// </summary>
    /// <param name="wanted">How many would be best.</param>
    /// <param name="count">How many they are.</param>
    /// <param name="isFresh">Whether they lie past all that was ever written, so that they read as zeroes.</param>
    /// <returns>The byte offset of the first.</returns>
    /// <exception cref="IOException">The host fails, or the file cannot be larger, or counts are wrong.</exception>
    public long Allocate(long wanted, out long count, out bool isFresh)
    {
        long first = FindFree(_nextFree);
        count = 0;
        while (count < wanted && BlockOffset(first + count) != 0 && Get(first + count) == 0)
        {
            count++;
        }

        Take(first, count, out isFresh);
        _nextFree = first + count;
        return first << ClusterBits;
    }

    /// <summary>Takes that many clusters in a row, wherever they are.</summary>
    /// <inheritdoc cref="Allocate"/>
    public long AllocateExactly(long wanted, out bool isFresh)
    {
        long first = FindFree(_nextFree);
        for (long run = 1; run < wanted;)
        {
            // Making a missing block may take the very cluster that was looked at.
            long free = FindFree(first + run);
            if (free == first + run)
            {
                run++;
            }
            else
            {
                first = free;
                run = 1;
            }
        }

        Take(first, wanted, out isFresh);
        return first << ClusterBits;
    }

    /// <summary>Adds a reference to a cluster that has some already, for compressed data that shares it. False if the count is full.</summary>
    public bool TryAddReference(long cluster)
    {
        ulong value = Get(cluster);
        if (value >= Max)
        {
            return false;
        }

        Set(cluster, value + 1);
        return true;
    }

    /// <summary>Gives clusters back that were allocated and never came into the mapping.</summary>
    public void Release(long offset, long count)
    {
        long first = offset >> ClusterBits;
        for (long cluster = first; cluster < first + count; cluster++)
        {
            Set(cluster, 0);
        }

        _nextFree = Math.Min(_nextFree, first);
    }

    /// <summary>Gives up bytes of the file that the mapping in memory no longer refers to; the file's still does.</summary>
    public void GiveUp(long offset, long length, long epoch)
    {
        if (Freed.Count > 0 && Freed[^1] is { } last && last.Offset + last.Length == offset && last.Epoch == epoch
            && (offset & ((1L << ClusterBits) - 1)) == 0)
        {
            Freed[^1] = last with { Length = last.Length + length };
        }
        else
        {
            Freed.Add(new FreedRange(offset, length, epoch));
        }
    }

    /// <summary>Takes the list of what has been given up so far, and begins a new one.</summary>
    public List<FreedRange> TakeFreed()
    {
        if (Freed.Count == 0)
        {
            return s_none;
        }

        List<FreedRange> taken = Freed;
        Freed = [];
        return taken;
    }

    /// <summary>Takes away one reference from every cluster of the range; those that then have none are free, and their space is the host's.</summary>
    /// <exception cref="IOException">The counts cannot be read.</exception>
    public void Drop(FreedRange range)
    {
        long first = range.Offset >> ClusterBits;
        long last = (range.Offset + range.Length - 1) >> ClusterBits;
        long holeStart = -1;
        for (long cluster = first; cluster <= last; cluster++)
        {
            ulong value = Get(cluster);
            if (value > 0)
            {
                // A count of 0 for what was in use is a corruption, which a check finds; there is nothing to take away.
                Set(cluster, value - 1);
            }

            if (value == 1)
            {
                holeStart = holeStart < 0 ? cluster : holeStart;
                _nextFree = Math.Min(_nextFree, cluster);
            }
            else if (holeStart >= 0)
            {
                Punch(holeStart, cluster);
                holeStart = -1;
            }
        }

        if (holeStart >= 0)
        {
            Punch(holeStart, last + 1);
        }
    }

    /// <summary>Writes the changed blocks to the file.</summary>
    public void WriteBlocks() => _blocks.WriteBack();

    /// <summary>What has changed in the table of blocks, to be written after the blocks; null if nothing.</summary>
    public TableUpdate? TakeTableUpdate()
    {
        if (!IsTableMoved && _changedEntries.Count == 0)
        {
            return null;
        }

        var update = new TableUpdate(_changedEntries, IsTableMoved ? (ulong[])_table.Clone() : null, _header.RefcountTableOffset, _header.RefcountTableClusters);
        _changedEntries = [];
        IsTableMoved = false;
        return update;
    }

    /// <summary>Takes an update back that could not be written.</summary>
    public void Return(TableUpdate update)
    {
        _changedEntries.AddRange(update.Entries);
        IsTableMoved |= update.Whole is not null;
    }

    public void Dispose() => _blocks.Dispose();

    internal static DiskImageException Corrupt(string path, string what) =>
        new($"{path} is corrupt ({what}); repair it with: viv disk check --repair {path}");

    private void Punch(long first, long end) => _file.TryPunchHole(first << ClusterBits, (end - first) << ClusterBits);

    private void Take(long first, long count, out bool isFresh)
    {
        for (long cluster = first; cluster < first + count; cluster++)
        {
            RefuseMetadata(cluster);
            Set(cluster, 1);
        }

        isFresh = first << ClusterBits >= FileEnd;
        FileEnd = Math.Max(FileEnd, (first + count) << ClusterBits);
    }

    /// <summary>Counts that call the header or a table free would have them overwritten.</summary>
    private void RefuseMetadata(long cluster)
    {
        long offset = cluster << ClusterBits;
        if (offset == 0
            || (offset >= _header.L1TableOffset && offset < _header.L1TableOffset + ((long)_header.L1Size * sizeof(ulong)))
            || (offset >= _header.RefcountTableOffset && offset < _header.RefcountTableOffset + ((long)_header.RefcountTableClusters << ClusterBits)))
        {
            throw Corrupt(_file.Path, $"the refcount of cluster {cluster}, which has metadata, is 0");
        }
    }

    /// <summary>The first free cluster from one on, with the block that counts it made if need be.</summary>
    private long FindFree(long cluster)
    {
        while (true)
        {
            long block = BlockOffset(cluster);
            if (block == 0)
            {
                // The new block lies in the first cluster that it counts.
                AddBlock(cluster);
                cluster++;
                continue;
            }

            int index = IndexInSlice(cluster);
            int entries = 1 << _sliceEntryBits;
            int free = IndexOfZero(Slice(block, cluster, out _), index, entries);
            cluster += free - index;
            if (free < entries)
            {
                return cluster;
            }
        }
    }

    private int IndexOfZero(byte* slice, int index, int entries)
    {
        if (_order == 4)
        {
            int found = new ReadOnlySpan<ushort>(slice, entries)[index..].IndexOf((ushort)0);
            return found < 0 ? entries : index + found;
        }

        while (index < entries && RefcountEntry.Read(slice, index, _order) != 0)
        {
            index++;
        }

        return index;
    }

    private void AddBlock(long cluster)
    {
        long index = cluster >> _blockBits;
        if (index >= _table.Length)
        {
            GrowTable(index + 1);
            if (BlockOffset(cluster) != 0)
            {
                return;
            }
        }

        RefuseMetadata(cluster);
        long offset = cluster << ClusterBits;
        if (offset < FileEnd)
        {
            _file.WriteZeroes(offset, _header.ClusterSize);
            _blocks.Forget(offset, _header.ClusterSize);
        }

        FileEnd = Math.Max(FileEnd, offset + _header.ClusterSize);
        _table[index] = (ulong)offset;
        _changedEntries.Add(((int)index, (ulong)offset));
        Set(cluster, 1);
    }

    private void GrowTable(long entries)
    {
        long perCluster = _header.ClusterSize / sizeof(ulong);
        long clusters = Math.Max((entries + perCluster - 1) / perCluster, 1) + 1;
        clusters = Math.Max(clusters, _header.RefcountTableClusters + (_header.RefcountTableClusters / 2));
        clusters = Math.Min(clusters, Qcow2Header.MaxRefcountTableBytes >> ClusterBits);
        if (clusters * perCluster < entries)
        {
            throw new IOException($"{_file.Path} cannot grow: its refcount table is as large as it can be");
        }

        int before = _table.Length;
        long offset;
        Array.Resize(ref _table, (int)(clusters * perCluster));
        try
        {
            offset = AllocateExactly(clusters, out _);
        }
        catch
        {
            // The table in the file is not larger, so no entry may lie past its end.
            _changedEntries.RemoveAll(change => change.Index >= before);
            Array.Resize(ref _table, before);
            throw;
        }

        GiveUp(_header.RefcountTableOffset, (long)_header.RefcountTableClusters << ClusterBits, long.MinValue);
        _header.RefcountTableOffset = offset;
        _header.RefcountTableClusters = (int)clusters;
        IsTableMoved = true;
    }

    private long BlockOffset(long cluster)
    {
        long index = cluster >> _blockBits;
        ulong entry = index < _table.Length ? _table[index] : 0;
        if (entry == 0)
        {
            return 0;
        }

        ulong offset = entry & BlockOffsetMask;
        if (offset % (ulong)_header.ClusterSize != 0 || offset != entry || offset == 0 || offset >= (ulong)FileEnd)
        {
            throw Corrupt(_file.Path, $"entry {index} of its refcount table is {entry:X}");
        }

        return (long)offset;
    }

    private byte* Slice(long block, long cluster, out int slot)
    {
        long slice = (cluster & ((1L << _blockBits) - 1)) >> _sliceEntryBits;
        slot = _blocks.Get(block + (slice * _blocks.SliceSize));
        return _blocks.Data(slot);
    }

    private int IndexInSlice(long cluster) => (int)(cluster & ((1L << _sliceEntryBits) - 1));

    private void Set(long cluster, ulong value)
    {
        byte* slice = Slice(BlockOffset(cluster), cluster, out int slot);
        RefcountEntry.Write(slice, IndexInSlice(cluster), _order, value);
        _blocks.MarkDirty(slot);
    }
}
