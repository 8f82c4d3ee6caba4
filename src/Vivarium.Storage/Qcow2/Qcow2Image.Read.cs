namespace Vivarium.Storage.Qcow2;

/// <content>Reading.</content>
internal sealed unsafe partial class Qcow2Image
{
    private protected override void ReadCore(long offset, long length, ReadOnlySpan<IoSegment> segments)
    {
        for (long done = 0; done < length;)
        {
            Extent extent;
            int epoch;
            lock (_gate)
            {
                extent = _map.Map(offset + done, length - done);
                epoch = _epochs.Enter();
            }

            try
            {
                ReadExtent(extent, offset + done, segments, done, extent.Length == length);
            }
            finally
            {
                _epochs.Leave(epoch);
            }

            done += extent.Length;
        }
    }

    private void ReadExtent(Extent extent, long offset, ReadOnlySpan<IoSegment> segments, long skip, bool isWhole)
    {
        switch (extent.Kind)
        {
            case ClusterKind.Normal when isWhole:
                _file.Read(extent.HostOffset, segments);
                break;
            case ClusterKind.Normal:
                SlicedIo.Run(_file, static (file, at, part) => file.Read(at, part), extent.HostOffset, segments, skip, extent.Length);
                break;
            case ClusterKind.Compressed:
                _compressed.Read(extent.Entry, (int)(offset & (ClusterSize - 1)), (int)extent.Length, segments, skip);
                break;
            case ClusterKind.Unallocated when _backing is not null && offset < _backing.Length:
                long below = Math.Min(extent.Length, _backing.Length - offset);
                SlicedIo.Run(_backing, static (backing, at, part) => backing.Read(at, part), offset, segments, skip, below);
                if (below < extent.Length)
                {
                    IoSegment.Clear(segments, skip + below, extent.Length - below);
                }

                break;
            default:
                IoSegment.Clear(segments, skip, extent.Length);
                break;
        }
    }

    /// <summary>Reads a part of a run's first or last cluster, outside of the run itself: what a partial write has to keep.</summary>
    private void ReadAround(Extent extent, long extentOffset, long offset, Span<byte> target)
    {
        switch (extent.Kind)
        {
            case ClusterKind.Normal:
                _file.Read(extent.HostOffset + (offset - extentOffset), target);
                break;
            case ClusterKind.Compressed:
                _compressed.Read(extent.Entry, (int)(offset & (ClusterSize - 1)), target);
                break;
            case ClusterKind.Unallocated when _backing is not null && offset < _backing.Length:
                int below = (int)Math.Min(target.Length, _backing.Length - offset);
                _backing.Read(offset, target[..below]);
                target[below..].Clear();
                break;
            default:
                target.Clear();
                break;
        }
    }

    /// <summary>Whether those parts read as zeroes for want of any content.</summary>
    private bool IsEmptyAround(Extent extent, long clusterStart) =>
        extent.Kind == ClusterKind.Zero || (extent.Kind == ClusterKind.Unallocated && (_backing is null || clusterStart >= _backing.Length));
}
