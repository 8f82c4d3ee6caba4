namespace Vivarium.Devices;

/// <summary>
/// The device registers in the physical address space: ranges sorted by address, found by the last hit or a binary
/// search. Mapping is rare and replaces the whole list, so that accesses take no lock. An access that does not lie in
/// one range is split into bytes; addresses that nobody claims read as all ones, and are counted.
/// </summary>
public sealed class MmioBus
{
    private sealed record Range(ulong First, ulong Size, IMmioDevice Device, string Name)
    {
        /// <summary>An access that found the range before it was taken away must not leave it as the last hit.</summary>
        public volatile bool Unmapped;

        public bool Contains(ulong gpa, int size) => gpa >= First && gpa - First <= Size - (ulong)size && (ulong)size <= Size;

        public bool ContainsByte(ulong gpa) => gpa - First < Size;
    }

    private readonly Lock _mapping = new();
    private volatile Range[] _ranges = [];
    private volatile Range? _last;
    private long _unclaimedAccesses;

    /// <summary>How many accesses (counted in bytes where one was split) found no device.</summary>
    public long UnclaimedAccesses => Interlocked.Read(ref _unclaimedAccesses);

    /// <summary>Gives <paramref name="size"/> bytes from <paramref name="first"/> to a device. Refuses what overlaps another device.</summary>
    public void Map(ulong first, ulong size, IMmioDevice device, string name)
    {
        if (TryMap(first, size, device, name) is { } why)
            throw new InvalidOperationException(why);
    }

    /// <summary>As <see cref="Map"/>, but says what is in the way; null if nothing was.</summary>
    internal string? TryMap(ulong first, ulong size, IMmioDevice device, string name)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfZero(size);
        if (first + (size - 1) < first)
            throw new ArgumentOutOfRangeException(nameof(size), $"The registers of {name} would end beyond the address space.");
        lock (_mapping)
        {
            var last = first + (size - 1);
            foreach (var other in _ranges)
            {
                if (first <= other.First + (other.Size - 1) && other.First <= last)
                    return $"The registers of {name} at 0x{first:X} overlap those of {other.Name} at 0x{other.First:X}.";
            }

            Range[] ranges = [.. _ranges, new Range(first, size, device, name)];
            Array.Sort(ranges, static (a, b) => a.First.CompareTo(b.First));
            _ranges = ranges;
            return null;
        }
    }

    /// <summary>Takes back the range that was mapped at <paramref name="first"/>. An access under way still completes.</summary>
    public void Unmap(ulong first)
    {
        lock (_mapping)
        {
            var ranges = _ranges;
            var index = Array.FindIndex(ranges, range => range.First == first);
            if (index < 0)
                throw new InvalidOperationException($"No device is mapped at 0x{first:X}.");
            ranges[index].Unmapped = true;
            _ranges = [.. ranges[..index], .. ranges[(index + 1)..]];
        }
    }

    public ulong Read(ulong gpa, int size)
    {
        var range = Find(gpa);
        if (range is not null && range.Contains(gpa, size))
            return range.Device.ReadMmio(gpa - range.First, size) & Mask(size);
        if (range is null && size == 1)
        {
            Interlocked.Increment(ref _unclaimedAccesses);
            return 0xFF;
        }

        ulong value = 0;
        for (var i = 0; i < size; i++)
            value |= Read(gpa + (ulong)i, 1) << (8 * i);
        return value;
    }

    public void Write(ulong gpa, int size, ulong value)
    {
        var range = Find(gpa);
        if (range is not null && range.Contains(gpa, size))
        {
            range.Device.WriteMmio(gpa - range.First, size, value & Mask(size));
        }
        else if (size == 1)
        {
            Interlocked.Increment(ref _unclaimedAccesses);
        }
        else
        {
            for (var i = 0; i < size; i++)
                Write(gpa + (ulong)i, 1, value >> (8 * i));
        }
    }

    /// <summary>What is mapped, in the order of addresses: for listings.</summary>
    public IEnumerable<(ulong First, ulong Size, string Name)> Mappings() =>
        _ranges.Select(range => (range.First, range.Size, range.Name));

    private Range? Find(ulong gpa)
    {
        var hit = _last;
        if (hit is { Unmapped: false } && hit.ContainsByte(gpa))
            return hit;
        var ranges = _ranges;
        int low = 0, high = ranges.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var range = ranges[middle];
            if (range.ContainsByte(gpa))
            {
                _last = range;
                return range;
            }

            if (gpa < range.First)
                high = middle - 1;
            else
                low = middle + 1;
        }

        return null;
    }

    private static ulong Mask(int size) => size >= 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;
}
