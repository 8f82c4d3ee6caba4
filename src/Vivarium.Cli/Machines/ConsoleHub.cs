namespace Vivarium.Cli.Machines;

/// <summary>
/// What a guest writes to its console, for everybody who looks: the stream that viv run was given, which gets every byte and may
/// hold the guest up, and any number of viewers, who never do. The last bytes are kept in a ring; a viewer is a position in it,
/// starts with all that is kept, and one that falls behind by more than the ring loses what was overwritten. Questions to the
/// terminal are the primary's alone to answer.
/// </summary>
/// <param name="primary">Gets every byte; null if nobody does. Dropped when it fails; the caller keeps ownership.</param>
/// <param name="size">How many bytes are kept.</param>
internal sealed class ConsoleHub(Stream? primary, int size = ConsoleHub.DefaultSize) : Stream
{
    public const int DefaultSize = 64 * 1024;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = GC.AllocateUninitializedArray<byte>(size);
    private readonly List<ConsoleViewer> _viewers = [];
    private readonly TerminalQueryFilter _filter = new();
    private byte[] _filtered = [];
    private Stream? _primary = primary;
    private long _end;
    private bool _completed;

    public override bool CanRead => false;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public ConsoleViewer View()
    {
        lock (_lock)
        {
            var viewer = new ConsoleViewer(this, Math.Max(0, _end - _ring.Length));
            _viewers.Add(viewer);
            return viewer;
        }
    }

    /// <summary>Nothing more will come: viewers see the end after what they have not yet seen.</summary>
    public void Complete()
    {
        lock (_lock)
        {
            _completed = true;
            WakeViewers();
        }
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        lock (_lock)
        {
            Append(buffer);
            WakeViewers();
        }

        // Outside the lock: a terminal that does not take its bytes stops the guest, but no viewer.
        try
        {
            _primary?.Write(buffer);
            _primary?.Flush();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException)
        {
            _primary = null;
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    /// <summary>Copies what stands at a viewer's position and moves it on; says how much it has lost before. 0 and not ended: nothing new.</summary>
    internal int Copy(ref long position, Span<byte> buffer, out long lost, out bool ended)
    {
        lock (_lock)
        {
            long oldest = Math.Max(0, _end - _ring.Length);
            lost = Math.Max(0, oldest - position);
            position += lost;
            int count = (int)Math.Min(buffer.Length, _end - position);
            int start = (int)(position % _ring.Length);
            int first = Math.Min(count, _ring.Length - start);
            _ring.AsSpan(start, first).CopyTo(buffer);
            _ring.AsSpan(0, count - first).CopyTo(buffer[first..]);
            position += count;
            ended = _completed && position == _end;
            return count;
        }
    }

    internal void Remove(ConsoleViewer viewer)
    {
        lock (_lock)
        {
            _ = _viewers.Remove(viewer);
        }
    }

    private void Append(ReadOnlySpan<byte> written)
    {
        if (_filtered.Length < written.Length + TerminalQueryFilter.LongestQuery)
        {
            _filtered = new byte[written.Length + TerminalQueryFilter.LongestQuery];
        }

        ReadOnlySpan<byte> bytes = _filtered.AsSpan(0, _filter.Filter(written, _filtered));
        if (bytes.Length > _ring.Length)
        {
            _end += bytes.Length - _ring.Length;
            bytes = bytes[^_ring.Length..];
        }

        int start = (int)(_end % _ring.Length);
        int first = Math.Min(bytes.Length, _ring.Length - start);
        bytes[..first].CopyTo(_ring.AsSpan(start));
        bytes[first..].CopyTo(_ring);
        _end += bytes.Length;
    }

    private void WakeViewers()
    {
        foreach (ConsoleViewer viewer in _viewers)
        {
            viewer.Wake();
        }
    }
}
