namespace Vivarium.Devices;

/// <summary>Pieces of guest RAM in a row that a controller has found for a transfer; those that continue each other become one.</summary>
internal sealed unsafe class SegmentList
{
    private const int FirstCapacity = 128;

    private IoSegment[] _segments = new IoSegment[FirstCapacity];
    private int _count;

    public ReadOnlyMemory<IoSegment> Segments => _segments.AsMemory(0, _count);

    public void Clear() => _count = 0;

    public void Add(byte* host, ulong length)
    {
        if (_count != 0 && _segments[_count - 1].Address + _segments[_count - 1].Length == host)
        {
            _segments[_count - 1].Length += (nuint)length;
            return;
        }

        if (_count == _segments.Length)
            Array.Resize(ref _segments, _count * 2);
        _segments[_count++] = new IoSegment(host, (nuint)length);
    }

    /// <summary>Drops bytes from the end; there are as many.</summary>
    public void DropEnd(ulong length)
    {
        while (length != 0)
        {
            ref var last = ref _segments[_count - 1];
            var part = Math.Min(length, last.Length);
            last.Length -= (nuint)part;
            length -= part;
            if (last.Length == 0)
                _count--;
        }
    }
}
