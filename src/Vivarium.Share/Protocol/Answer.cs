using System.Runtime.InteropServices;

namespace Vivarium.Share.Protocol;

/// <summary>Writes an answer into the memory that the guest has given for it: the body first, the header at the end.</summary>
internal unsafe ref struct Answer(ReadOnlySpan<IoSegment> segments)
{
    private readonly ReadOnlySpan<IoSegment> _segments = segments;
    private long _body;

    /// <summary>How many bytes of a body there is room for; negative if not even the header fits.</summary>
    public long Room { get; } = IoSegment.Sum(segments) - sizeof(OutHeader);

    /// <summary>The length of the whole answer in bytes; 0 before it is finished.</summary>
    public uint Written { get; private set; }

    /// <summary>Appends to the body; false if there is no room.</summary>
    public bool TryWrite<T>(T value)
        where T : unmanaged => TryWrite(new ReadOnlySpan<byte>(&value, sizeof(T)));

    /// <inheritdoc cref="TryWrite{T}(T)"/>
    public bool TryWrite(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > Room - _body)
        {
            return false;
        }

        IoSegment.Scatter(bytes, _segments, sizeof(OutHeader) + _body);
        _body += bytes.Length;
        return true;
    }

    /// <summary>Where the next bytes of the body are to be, for somebody else to write, as many segments as fit.</summary>
    public readonly int Data(long length, Span<IoSegment> window) =>
        IoSegment.Slice(_segments, sizeof(OutHeader) + _body, Math.Min(length, Room - _body), window);

    /// <summary>Somebody else has written so many bytes of the body.</summary>
    public void Advance(long length) => _body += length;

    /// <summary>Writes the header; after an error, there is no body.</summary>
    public void Finish(ulong unique, int error)
    {
        if (Room < 0)
        {
            return;
        }

        var header = new OutHeader { Length = (uint)(sizeof(OutHeader) + (error == 0 ? _body : 0)), Error = -error, Unique = unique };
        IoSegment.Scatter(MemoryMarshal.AsBytes(new ReadOnlySpan<OutHeader>(in header)), _segments, 0);
        Written = header.Length;
    }
}
