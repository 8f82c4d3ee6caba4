using System.Runtime.InteropServices;

namespace Vivarium.Devices;

/// <summary>
/// A buffer that the driver has made available: one descriptor chain, translated and checked. It belongs to the device from
/// <see cref="Virtqueue.TryPop"/> until <see cref="Virtqueue.Push"/> or <see cref="Virtqueue.Unpop"/>; the queue reuses the
/// objects. Segments are consumed in place through <see cref="Readable"/> and <see cref="Writable"/>.
/// </summary>
public sealed unsafe class VirtqueueChain
{
    private const int FirstCapacity = 16;

    private IoSegment* _segments;
    private IoSegment* _written;
    private int _capacity;
    private int _count;
    private int _readableCount;
    private ulong _readableLength;
    private ulong _writableLength;

    internal VirtqueueChain() => Grow(FirstCapacity);

    ~VirtqueueChain()
    {
        NativeMemory.Free(_segments);
        NativeMemory.Free(_written);
    }

    /// <summary>What the driver lets the device read.</summary>
    public ref IoSegments Readable => ref _readable;

    /// <summary>What the driver lets the device write; comes after all that is readable.</summary>
    public ref IoSegments Writable => ref _writable;

    private IoSegments _readable;
    private IoSegments _writable;

    /// <summary>Where the chain was taken from: another ring, set up meanwhile, does not get it.</summary>
    internal VirtqueueRing? Ring { get; set; }

    /// <summary>The descriptor's index (split) or the buffer's identifier (packed).</summary>
    internal ushort Id { get; set; }

    /// <summary>How many places of a packed ring the chain takes.</summary>
    internal int RingDescriptors { get; set; }

    /// <summary>The ring's position before the chain was taken, for <see cref="Virtqueue.Unpop"/>.</summary>
    internal int Position { get; set; }

    internal ulong TotalLength => _readableLength + _writableLength;

    /// <summary>The writable part's length before the device took anything off it, in bytes.</summary>
    public ulong WritableCapacity => _writableLength;

    internal void Clear()
    {
        _count = 0;
        _readableCount = 0;
        _readableLength = 0;
        _writableLength = 0;
    }

    internal void Add(byte* address, ulong length, bool writable)
    {
        if (_count == _capacity)
            Grow(_capacity * 2);
        _segments[_count++] = new IoSegment(address, (nuint)length);
        if (writable)
        {
            _writableLength += length;
        }
        else
        {
            _readableCount++;
            _readableLength += length;
        }
    }

    /// <summary>All descriptors have been added.</summary>
    internal void Seal()
    {
        var writable = _count - _readableCount;
        _readable = new IoSegments(_segments, _readableCount, _readableLength);
        _writable = new IoSegments(_segments + _readableCount, writable, _writableLength);

        // The device consumes the segments in place; what it has written must be known at the end.
        new ReadOnlySpan<IoSegment>(_segments + _readableCount, writable).CopyTo(new Span<IoSegment>(_written, writable));
    }

    /// <summary>The writable part as the driver gave it.</summary>
    internal ReadOnlySpan<IoSegment> WrittenSegments => new(_written, _count - _readableCount);

    private void Grow(int capacity)
    {
        _segments = (IoSegment*)NativeMemory.Realloc(_segments, (nuint)capacity * (nuint)sizeof(IoSegment));
        _written = (IoSegment*)NativeMemory.Realloc(_written, (nuint)capacity * (nuint)sizeof(IoSegment));
        _capacity = capacity;
    }
}
