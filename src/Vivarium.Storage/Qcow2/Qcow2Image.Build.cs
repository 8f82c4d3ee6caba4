namespace Vivarium.Storage.Qcow2;

/// <content>What is done to images that no machine uses: filling with compressed clusters, changing the size.</content>
internal sealed unsafe partial class Qcow2Image
{
    private long _packAt;
    private long _packEnd;

    /// <summary>
    /// Maps a cluster of the disk to compressed data, which is packed behind the last one's; clusters of the file are shared.
    /// Only for images under construction, whose cluster is not allocated yet.
    /// </summary>
    public void WriteCompressed(long offset, ReadOnlySpan<byte> data)
    {
        RelieveMetadata();
        lock (_gate)
        {
            long cluster = offset >> ClusterBits;
            _map.MakeWritable(cluster, _epochs.Current);
            PlacePacked(data.Length);
            _file.Write(_packAt, data);
            _map.Set(cluster, 1, L2Entry.ForCompressed(_packAt, data.Length, ClusterBits), 0, _epochs.Current);
            _packAt += data.Length;
        }
    }

    /// <summary>Ends the construction: everything is in the file, though not yet on the disk.</summary>
    public void Complete()
    {
        WriteBack();
        lock (_gate)
        {
            _refcounts!.WriteBlocks();
            _refcounts.TakeTableUpdate()?.WriteTo(_file, needsBarriers: false);
        }
    }

    /// <summary>Changes the size of the disk. The image must be opened anew then.</summary>
    /// <exception cref="DiskImageException">There are snapshots in the way, or the size is not possible.</exception>
    public void Resize(long size)
    {
        if (size > Qcow2Header.MaxSize(ClusterBits))
        {
            throw new DiskImageException($"a disk of {size} bytes is too large for clusters of {ClusterSize} bytes; convert it with larger clusters");
        }

        if (_header.SnapshotCount > 0 && (size < Length || _header.Version < 3))
        {
            throw new DiskImageException($"{Path} has snapshots, with which its size cannot be changed so; delete them with: qemu-img snapshot -d");
        }

        if (size < Length)
        {
            WriteZeroes(size, Length - size, mayUnmap: true);
        }

        WriteBack();
        long oldTable = _header.L1TableOffset;
        long oldLength = 0;
        lock (_gate)
        {
            long entries = Qcow2Header.L1EntriesFor(size, ClusterBits);
            if (entries > _header.L1Size)
            {
                BeginLazy();
                oldLength = (long)_header.L1Size * sizeof(ulong);
                MoveL1(entries);
            }

            _header.Size = size;
        }

        WriteBack();
        _header.UpdateSizes(_file);
        _file.Flush();
        if (oldLength > 0)
        {
            lock (_gate)
            {
                _refcounts!.GiveUp(oldTable, oldLength, _epochs.Current);
            }
        }
    }

    private void MoveL1(long entries)
    {
        long clusters = ((entries * sizeof(ulong)) + ClusterSize - 1) >> ClusterBits;
        long table = _refcounts!.AllocateExactly(clusters, out _);
        ulong[] l1 = new ulong[clusters * ClusterSize / sizeof(ulong)];
        for (int i = 0; i < _header.L1Size; i++)
        {
            l1[i] = _map.L1(i);
        }

        BigEndianTable.Write(_file, table, l1);
        _header.L1TableOffset = table;
        _header.L1Size = (int)entries;
    }

    /// <summary>Finds <paramref name="length"/> bytes behind the last packed ones, or elsewhere, and counts the reference.</summary>
    private void PlacePacked(int length)
    {
        bool continues = _packAt < _packEnd && _refcounts!.TryAddReference(_packAt >> ClusterBits);
        if (continues && length <= _packEnd - _packAt)
        {
            return;
        }

        long host = _refcounts!.Allocate(1, out _, out _);
        if (host != _packEnd || !continues)
        {
            if (continues)
            {
                _refcounts.Drop(new FreedRange(_packAt, 1, 0));
            }

            _packAt = host;
        }

        _packEnd = host + ClusterSize;
    }
}
