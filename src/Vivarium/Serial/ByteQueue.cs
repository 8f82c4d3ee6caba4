namespace Vivarium.Serial;

/// <summary>A bounded queue of bytes between threads. Closing it lets everyone go; what is queued can still be taken.</summary>
internal sealed class ByteQueue(int capacity)
{
    private readonly object _gate = new();
    private readonly byte[] _ring = GC.AllocateUninitializedArray<byte>(capacity);
    private int _head;
    private int _count;
    private bool _closed;

    /// <summary>Appends all bytes, waiting for room. False if the queue was closed.</summary>
    public bool Write(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            while (!bytes.IsEmpty)
            {
                while (_count == _ring.Length && !_closed)
                {
                    Monitor.Wait(_gate);
                }

                if (_closed)
                {
                    return false;
                }

                int part = Math.Min(bytes.Length, _ring.Length - _count);
                Append(bytes[..part]);
                bytes = bytes[part..];
            }

            return true;
        }
    }

    /// <summary>Appends all bytes if there is room for them now.</summary>
    public bool TryWrite(ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            if (_closed || bytes.Length > _ring.Length - _count)
            {
                return false;
            }

            Append(bytes);
            return true;
        }
    }

    /// <summary>Waits for bytes and takes as many as there are; 0 when the queue is closed and empty.</summary>
    public int Read(Span<byte> buffer)
    {
        lock (_gate)
        {
            while (_count == 0)
            {
                if (_closed)
                {
                    return 0;
                }

                Monitor.Wait(_gate);
            }

            int length = Math.Min(buffer.Length, _count);
            int first = Math.Min(length, _ring.Length - _head);
            _ring.AsSpan(_head, first).CopyTo(buffer);
            _ring.AsSpan(0, length - first).CopyTo(buffer[first..]);
            _head = (_head + length) % _ring.Length;
            bool wasFull = _count == _ring.Length;
            _count -= length;
            if (wasFull)
            {
                Monitor.PulseAll(_gate);
            }

            return length;
        }
    }

    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        int tail = (_head + _count) % _ring.Length;
        int first = Math.Min(bytes.Length, _ring.Length - tail);
        bytes[..first].CopyTo(_ring.AsSpan(tail));
        bytes[first..].CopyTo(_ring);
        bool wasEmpty = _count == 0;
        _count += bytes.Length;
        if (wasEmpty)
        {
            Monitor.PulseAll(_gate);
        }
    }
}
