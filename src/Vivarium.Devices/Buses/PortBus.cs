namespace Vivarium.Devices;

/// <summary>
/// The 64K I/O ports of a PC. A table with one entry per port finds the device; mapping is rare and copies what it
/// changes, so that accesses take no lock. An access that does not lie in one range is split into bytes; ports that
/// nobody claims read as all ones, and are counted.
/// </summary>
public sealed class PortBus
{
    public const int PortCount = 65536;

    private sealed record Range(ushort First, int Count, IPortDevice Device, string Name, ushort FirstOffset);

    private readonly Lock _mapping = new();
    private readonly ushort[] _owner = new ushort[PortCount];
    private volatile Range?[] _ranges = new Range?[16];
    private long _unclaimedAccesses;

    /// <summary>How many accesses (counted in bytes where one was split) found no device.</summary>
    public long UnclaimedAccesses => Interlocked.Read(ref _unclaimedAccesses);

    /// <summary>
    /// Gives <paramref name="count"/> ports from <paramref name="first"/> to a device, which sees them as offsets from
    /// <paramref name="firstOffset"/>. Refuses what overlaps another device.
    /// </summary>
    public void Map(ushort first, int count, IPortDevice device, string name, ushort firstOffset = 0)
    {
        if (TryMap(first, count, device, name, firstOffset) is { } why)
            throw new InvalidOperationException(why);
    }

    /// <summary>As <see cref="Map"/>, but says what is in the way; null if nothing was.</summary>
    internal string? TryMap(ushort first, int count, IPortDevice device, string name, ushort firstOffset = 0)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        if (first + count > PortCount)
            throw new ArgumentOutOfRangeException(nameof(count), $"Ports of {name} would end beyond 0xFFFF.");
        lock (_mapping)
        {
            var ranges = _ranges;
            for (var port = (int)first; port < first + count; port++)
            {
                if (_owner[port] != 0)
                    return $"Port 0x{port:X4} of {name} already belongs to {ranges[_owner[port]]!.Name}.";
            }

            var slot = Array.IndexOf(ranges, null, 1);
            if (slot < 0)
            {
                slot = ranges.Length;
                Array.Resize(ref ranges, ranges.Length * 2);
            }
            else
            {
                ranges = (Range?[])ranges.Clone();
            }

            ranges[slot] = new Range(first, count, device, name, firstOffset);
            _ranges = ranges;
            Array.Fill(_owner, (ushort)slot, first, count);
            return null;
        }
    }

    /// <summary>Takes back the range that was mapped at <paramref name="first"/>. An access under way still completes.</summary>
    public void Unmap(ushort first)
    {
        lock (_mapping)
        {
            var slot = _owner[first];
            var range = _ranges[slot];
            if (range is null || range.First != first)
                throw new InvalidOperationException($"No device is mapped at port 0x{first:X4}.");
            Array.Clear(_owner, first, range.Count);
            var ranges = (Range?[])_ranges.Clone();
            ranges[slot] = null;
            _ranges = ranges;
        }
    }

    /// <summary>IN.</summary>
    public uint Read(ushort port, int size)
    {
        var range = Find(port, size);
        if (range is not null)
            return range.Device.ReadPort((ushort)(port - range.First + range.FirstOffset), size) & Mask(size);
        if (size == 1)
        {
            Interlocked.Increment(ref _unclaimedAccesses);
            return 0xFF;
        }

        uint value = 0;
        for (var i = 0; i < size; i++)
            value |= (port + i < PortCount ? Read((ushort)(port + i), 1) : 0xFFu) << (8 * i);
        return value;
    }

    /// <summary>REP INS, of elements of <paramref name="size"/> bytes.</summary>
    public void Read(ushort port, int size, Span<byte> elements)
    {
        if (Find(port, size) is { } range)
        {
            range.Device.ReadPorts((ushort)(port - range.First + range.FirstOffset), size, elements);
            return;
        }

        while (!elements.IsEmpty)
            elements = IPortDevice.Put(elements, Read(port, size), size);
    }

    /// <summary>OUT.</summary>
    public void Write(ushort port, int size, uint value)
    {
        var range = Find(port, size);
        if (range is not null)
        {
            range.Device.WritePort((ushort)(port - range.First + range.FirstOffset), size, value & Mask(size));
        }
        else if (size == 1)
        {
            Interlocked.Increment(ref _unclaimedAccesses);
        }
        else
        {
            for (var i = 0; i < size && port + i < PortCount; i++)
                Write((ushort)(port + i), 1, value >> (8 * i));
        }
    }

    /// <summary>What is mapped, in the order of ports: for listings.</summary>
    public IEnumerable<(ushort First, int Count, string Name)> Mappings() =>
        _ranges.Where(range => range is not null).OrderBy(range => range!.First).Select(range => (range!.First, range.Count, range.Name));

    private Range? Find(ushort port, int size)
    {
        var slot = Volatile.Read(ref _owner[port]);
        if (slot == 0)
            return null;
        var ranges = _ranges;
        var range = slot < ranges.Length ? ranges[slot] : null;
        return range is not null && port >= range.First && port + size <= range.First + range.Count ? range : null;
    }

    private static uint Mask(int size) => size >= 4 ? uint.MaxValue : (1u << (8 * size)) - 1;
}
