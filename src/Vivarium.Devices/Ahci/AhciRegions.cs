using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>A command's physical region descriptor table (AHCI 1.3, 4.2.3.3), walked from front to end. Under the port's lock.</summary>
internal sealed unsafe class AhciRegions(GuestMemory memory)
{
    private const int DescriptorLength = 16;
    private const int CountField = 12;
    private const uint CountMask = 0x3F_FFFF;

    private readonly SegmentList _segments = new();
    private ulong _next;
    private int _left;

    /// <summary>What is left of the region that is begun.</summary>
    private ulong _address;
    private ulong _length;

    /// <summary>What <see cref="Take"/> has found, and how many bytes that is.</summary>
    public ReadOnlyMemory<IoSegment> Segments => _segments.Segments;

    public ulong Taken { get; private set; }

    public void Begin(ulong table, int descriptors)
    {
        _next = table;
        _left = descriptors;
        _length = 0;
        _segments.Clear();
    }

    /// <summary>The next bytes, at most <paramref name="wanted"/>; fewer if the table ends. False if it names what is not RAM.</summary>
    public bool Take(ulong wanted)
    {
        _segments.Clear();
        Taken = 0;
        while (Taken < wanted)
        {
            if (_length == 0 && !Fetch(out var isEnd))
                return isEnd;
            var part = Math.Min(_length, wanted - Taken);
            var host = memory.TryGetRam(_address, part, out var contiguous);
            if (host == null)
                return false;
            _segments.Add(host, contiguous);
            _address += contiguous;
            _length -= contiguous;
            Taken += contiguous;
        }

        return true;
    }

    private bool Fetch(out bool isEnd)
    {
        isEnd = _left == 0;
        Span<byte> descriptor = stackalloc byte[DescriptorLength];
        if (isEnd || !memory.TryRead(_next, descriptor))
            return false;
        _left--;
        _next += DescriptorLength;
        _address = BinaryPrimitives.ReadUInt64LittleEndian(descriptor) & ~1ul;
        _length = (BinaryPrimitives.ReadUInt32LittleEndian(descriptor[CountField..]) & CountMask | 1) + 1;
        return true;
    }
}
