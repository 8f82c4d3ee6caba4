namespace Vivarium.Memory;

// How the map is made and changed, and the log of what was written.
public sealed unsafe partial class GuestMemory
{
    /// <summary>
    /// Called after the map has changed for a range of guest-physical addresses (start, length), with the lock of the map held:
    /// an engine forgets what it knows of the range before the guest's next instruction.
    /// </summary>
    public Action<ulong, ulong>? Remapped { get; set; }

    /// <summary>Called after <see cref="TakeDirty"/> has found pages dirty: the next write to any page is to be noted again.</summary>
    public Action? DirtyTaken { get; set; }

    /// <summary>Takes a region out of the reserved memory. It reads as zero and is not mapped anywhere yet.</summary>
    /// <param name="length">In bytes, a multiple of the page size.</param>
    public MemoryRegion Allocate(ulong length, bool isRam = false)
    {
        if ((length & PageMask) != 0 || length == 0)
        {
            throw new ArgumentException("a memory region is a whole number of 4 KiB pages");
        }

        lock (_mapping)
        {
            if (length > _capacity - _used)
            {
                throw new ArgumentException("memory regions exceed the reserved capacity");
            }

            var region = new MemoryRegion(length, (long)_used, _host + _used, _flags + (_used >> PageShift), isRam);
            if (!isRam)
            {
                new Span<byte>(region.Flags, checked((int)(length >> PageShift))).Fill((byte)PageFlags.Clean);
            }

            _used += length;
            _regions.Add(region);
            return region;
        }
    }

    /// <summary>A region of its own at a place that is free: RAM, or ROM.</summary>
    public MemorySlot AddSlot(ulong start, ulong length, bool readOnly = false)
    {
        CheckRange(start, length);
        if (Overlapping(start, length) is { } other)
        {
            throw new ArgumentException($"memory slot at {start:x} overlaps the one at {other.Start:x}");
        }

        Map(start, Allocate(length, isRam: !readOnly), 0, length, readOnly);
        return Find(start)!;
    }

    /// <summary>
    /// Shows a part of a region at a guest-physical address, in place of what was there. A region's page may be mapped in one place at a
    /// time only, unless all of them are read-only.
    /// </summary>
    public void Map(ulong start, MemoryRegion region, ulong offset, ulong length, bool readOnly = false)
    {
        CheckRange(start, length);
        if ((offset & PageMask) != 0 || offset > region.Length || length > region.Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), "a slot shows whole pages of its region");
        }

        Replace(start, length, new MemorySlot(start, region, offset, length, readOnly), onlyIfFree: false);
    }

    /// <summary>As <see cref="Map"/> with all of a region, but only if no memory is there already; false if some is.</summary>
    public bool TryMap(ulong start, MemoryRegion region, bool readOnly = false)
    {
        CheckRange(start, region.Length);
        return Replace(start, region.Length, new MemorySlot(start, region, 0, region.Length, readOnly), onlyIfFree: true);
    }

    /// <summary>Takes away what memory there is in a range: accesses go to the bus.</summary>
    public void Unmap(ulong start, ulong length)
    {
        CheckRange(start, length);
        Replace(start, length, null, onlyIfFree: false);
    }

    /// <summary>
    /// Tells which pages of a region were written since it was last asked, by guest or devices, and begins anew. One caller for each
    /// region. What a processor writes during the call may belong to this call's pages without being seen yet: whoever copies
    /// pages out copies those of the call before once more.
    /// </summary>
    /// <param name="region">The region.</param>
    /// <param name="firstPage">Its first page that counts.</param>
    /// <param name="dirty">One for each page from there.</param>
    /// <returns>False if none was written.</returns>
    public bool TakeDirty(MemoryRegion region, int firstPage, Span<bool> dirty)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstPage);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)firstPage + (ulong)dirty.Length, region.Length >> PageShift);
        bool any = false;
        for (int i = 0; i < dirty.Length; i++)
        {
            PageFlags* flags = region.Flags + firstPage + i;
            dirty[i] = (Volatile.Read(ref *(byte*)flags) & (byte)PageFlags.Clean) == 0;
            if (dirty[i])
            {
                any = true;
                SlotFlags.Set(flags, PageFlags.Clean);
            }
        }

        if (any || region.WasDirty)
        {
            // A processor that saw the page dirty just before may open it for writing just after: so this is done once more.
            region.WasDirty = any;
            DirtyTaken?.Invoke();
        }

        return any;
    }

    private static void CheckRange(ulong start, ulong length)
    {
        if (((start | length) & PageMask) != 0 || length == 0)
        {
            throw new ArgumentException("a memory slot is a whole number of 4 KiB pages");
        }

        if (start + (length - 1) < start)
        {
            throw new ArgumentOutOfRangeException(nameof(length), "a memory slot ends within the address space");
        }
    }

    private MemorySlot? Overlapping(ulong start, ulong length)
    {
        foreach (MemorySlot slot in _slots)
        {
            if (slot.Start - start < length || start - slot.Start < slot.Length)
            {
                return slot;
            }
        }

        return null;
    }

    private bool Replace(ulong start, ulong length, MemorySlot? with, bool onlyIfFree)
    {
        lock (_mapping)
        {
            MemorySlot? inTheWay = Overlapping(start, length);
            if (onlyIfFree ? inTheWay is not null : with is null && inTheWay is null)
            {
                return false;
            }

            List<MemorySlot> slots = [];
            foreach (MemorySlot slot in _slots)
            {
                if (slot.End <= start || start + (length - 1) < slot.Start)
                {
                    slots.Add(slot);
                    continue;
                }

                if (slot.Start < start)
                {
                    slots.Add(slot.Part(slot.Start, start));
                }

                if (start + (length - 1) < slot.End - 1)
                {
                    slots.Add(slot.Part(start + length, slot.End));
                }
            }

            if (with is not null)
            {
                slots.Add(with);
            }

            _slots = Joined(slots);
            Remapped?.Invoke(start, length);
            return true;
        }
    }

    /// <summary>Slots that continue each other become one, so that a range of RAM is in one piece wherever it can be.</summary>
    private static MemorySlot[] Joined(List<MemorySlot> slots)
    {
        slots.Sort(static (a, b) => a.Start.CompareTo(b.Start));
        List<MemorySlot> joined = [];
        foreach (MemorySlot slot in slots)
        {
            if (joined.Count != 0 && joined[^1].Continues(slot))
            {
                MemorySlot before = joined[^1];
                joined[^1] = new MemorySlot(before.Start, before.Region, (ulong)(before.HostOffset - before.Region.HostOffset), before.Length + slot.Length, before.ReadOnly);
            }
            else
            {
                joined.Add(slot);
            }
        }

        joined.Sort(static (a, b) => b.Length.CompareTo(a.Length));
        return [.. joined];
    }
}
