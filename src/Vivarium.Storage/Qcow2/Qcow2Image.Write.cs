using System.Buffers;

namespace Vivarium.Storage.Qcow2;

/// <content>Writing.</content>
internal sealed unsafe partial class Qcow2Image
{
    /// <summary>Clusters of the disk that somebody is writing to a new place; their entries follow when the data is there.</summary>
    private readonly List<(long First, long Count)> _moving = [];

    private protected override void WriteCore(long offset, long length, ReadOnlySpan<IoSegment> segments)
    {
        for (long done = 0; done < length;)
        {
            Extent extent = default;
            long host = 0;
            long clusters = 0;
            bool isFresh = false;
            int epoch;
            RelieveMetadata();
            lock (_gate)
            {
                extent = _map.Map(offset + done, length - done);
                if (!extent.IsWritableInPlace && !TryPlace(offset + done, extent, out host, out clusters, out isFresh))
                {
                    continue;
                }

                epoch = _epochs.Enter();
            }

            try
            {
                if (clusters > 0)
                {
                    done += Relocate(extent, offset + done, segments, done, host, clusters, isFresh);
                    continue;
                }

                if (extent.Length == length)
                {
                    _file.Write(extent.HostOffset, segments);
                }
                else
                {
                    SlicedIo.Run(_file, static (file, at, part) => file.Write(at, part), extent.HostOffset, segments, done, extent.Length);
                }

                done += extent.Length;
            }
            finally
            {
                _epochs.Leave(epoch);
            }
        }
    }

    /// <summary>Writes metadata back before there is too much of it.</summary>
    private void RelieveMetadata()
    {
        if (IsCrowded)
        {
            WriteBack();
        }
    }

    /// <summary>
    /// Finds a place for the run's clusters, or for the first few of them. False if somebody else is moving the first one:
    /// this has then waited for a change, and the mapping is to be looked at again.
    /// </summary>
    private bool TryPlace(long offset, Extent extent, out long host, out long clusters, out bool isFresh)
    {
        host = 0;
        isFresh = false;
        long first = offset >> ClusterBits;
        clusters = ((offset + extent.Length - 1) >> ClusterBits) - first + 1;
        clusters = Math.Min(clusters, _map.SliceClusters - (first & (_map.SliceClusters - 1)));
        if (!TryAvoidMoving(first, ref clusters))
        {
            return false;
        }

        BeginLazy();
        _map.MakeWritable(first, _epochs.Current);
        host = _refcounts!.Allocate(clusters, out clusters, out isFresh);
        _moving.Add((first, clusters));
        return true;
    }

    /// <summary>Cuts a run before the next cluster that is being moved; waits and says false if that is its first.</summary>
    private bool TryAvoidMoving(long first, ref long clusters)
    {
        foreach ((long otherFirst, long otherCount) in _moving)
        {
            if (first >= otherFirst && first < otherFirst + otherCount)
            {
                Monitor.Wait(_gate);
                return false;
            }

            if (otherFirst > first && otherFirst < first + clusters)
            {
                clusters = otherFirst - first;
            }
        }

        return true;
    }

    /// <summary>Writes clusters to their new place, completed by what was around the written bytes, and maps them there.</summary>
    /// <returns>The bytes of the request that this was.</returns>
    private long Relocate(Extent extent, long offset, ReadOnlySpan<IoSegment> segments, long skip, long host, long clusters, bool isFresh)
    {
        long first = offset >> ClusterBits;
        long start = first << ClusterBits;
        long end = start + (clusters << ClusterBits);
        long length = Math.Min(extent.Length, end - offset);
        int head = (int)(offset - start);
        int tail = (int)(end - (offset + length));
        bool isDone = false;
        try
        {
            bool needsHead = head > 0 && !(isFresh && IsEmptyAround(extent, start));
            bool needsTail = tail > 0 && !(isFresh && IsEmptyAround(extent, end - ClusterSize));
            if (needsHead || needsTail)
            {
                WriteCompleted(extent, offset, segments, skip, length, host, needsHead ? head : 0, head, needsTail ? tail : 0);
            }
            else
            {
                SlicedIo.Run(_file, static (file, at, part) => file.Write(at, part), host + head, segments, skip, length);
            }

            lock (_gate)
            {
                _map.Set(first, clusters, (ulong)host | L2Entry.Copied, ClusterSize, _epochs.Current);
                isDone = true;
            }
        }
        finally
        {
            lock (_gate)
            {
                if (!isDone)
                {
                    _refcounts!.Release(host, clusters);
                }

                _moving.Remove((first, clusters));
                Monitor.PulseAll(_gate);
            }
        }

        return length;
    }

    /// <summary>One write of what was before the bytes, the bytes, and what was after them.</summary>
    private void WriteCompleted(Extent extent, long offset, ReadOnlySpan<IoSegment> segments, long skip, long length, long host, int head, int inCluster, int tail)
    {
        byte[] around = ArrayPool<byte>.Shared.Rent(head + tail);
        try
        {
            ReadAround(extent, offset, offset - head, around.AsSpan(0, head));
            ReadAround(extent, offset, offset + length, around.AsSpan(head, tail));
            fixed (byte* pointer = around)
            {
                Span<IoSegment> window = stackalloc IoSegment[SlicedIo.Window];
                window[0] = new IoSegment(pointer, (nuint)head);
                long covered = IoSegment.Slice(segments, skip, length, window[1..^1], out int used);
                long at = host + inCluster - head;
                if (covered == length)
                {
                    window[used + 1] = new IoSegment(pointer + head, (nuint)tail);
                    _file.Write(at, window[..(used + 2)]);
                    return;
                }

                _file.Write(at, window[..(used + 1)]);
                SlicedIo.Run(_file, static (file, target, part) => file.Write(target, part), host + inCluster + covered, segments, skip + covered, length - covered);
                _file.Write(host + inCluster + length, around.AsSpan(head, tail));
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(around);
        }
    }
}
