namespace Vivarium.Serial;

/// <summary>The last of what a guest has written to a console: a ring of bytes with places that count from its start.</summary>
internal sealed class ConsoleTranscript
{
    public const int Capacity = 256 * 1024;

    private readonly Lock _lock = new();
    private byte[] _ring = [];
    private long _end;

    /// <summary>How many bytes were ever written.</summary>
    public long End => Volatile.Read(ref _end);

    public void Append(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            if (_ring.Length == 0)
            {
                _ring = new byte[Capacity];
            }

            long end = _end + bytes.Length;
            if (bytes.Length > Capacity)
            {
                bytes = bytes[^Capacity..];
            }

            int start = (int)((end - bytes.Length) % Capacity);
            int first = Math.Min(bytes.Length, Capacity - start);
            bytes[..first].CopyTo(_ring.AsSpan(start));
            bytes[first..].CopyTo(_ring);
            Volatile.Write(ref _end, end);
        }
    }

    /// <summary>What was written from a place on, as far as it is kept, and where it ends.</summary>
    public byte[] From(long place, out long end)
    {
        lock (_lock)
        {
            end = _end;
            long begin = Math.Clamp(place, Math.Max(0, _end - Capacity), _end);
            byte[] bytes = new byte[_end - begin];
            int start = (int)(begin % Capacity);
            int first = Math.Min(bytes.Length, Capacity - start);
            _ring.AsSpan(start, first).CopyTo(bytes);
            _ring.AsSpan(0, bytes.Length - first).CopyTo(bytes.AsSpan(first));
            return bytes;
        }
    }
}
