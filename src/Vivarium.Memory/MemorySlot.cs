namespace Vivarium.Memory;

/// <summary>
/// One range of guest-physical addresses backed by host memory: a part of a <see cref="MemoryRegion"/>, as RAM or ROM.
/// All slots of a machine are windows into one range of the host's memory.
/// </summary>
public sealed unsafe class MemorySlot
{
    internal MemorySlot(ulong start, MemoryRegion region, ulong offset, ulong length, bool readOnly)
    {
        Start = start;
        Region = region;
        Length = length;
        HostOffset = region.HostOffset + (long)offset;
        Host = region.Host + offset;
        Flags = region.Flags + (offset >> GuestMemory.PageShift);
        ReadOnly = readOnly;
    }

    /// <summary>First guest-physical address (GPA), page-aligned.</summary>
    public ulong Start { get; }

    /// <summary>Size in bytes, a multiple of 4096.</summary>
    public ulong Length { get; }

    /// <summary>First GPA past the slot.</summary>
    public ulong End => Start + Length;

    /// <summary>What the slot shows a part of.</summary>
    public MemoryRegion Region { get; }

    /// <summary>Offset of the slot's first byte in the reserved memory.</summary>
    public long HostOffset { get; }

    /// <summary>Host address of the slot's first byte (HVA).</summary>
    public byte* Host { get; }

    /// <summary>One <see cref="PageFlags"/> byte per 4 KiB page.</summary>
    public PageFlags* Flags { get; }

    /// <summary>
    /// True for ROM: the guest reads and executes it as memory, and its writes go to the bus as if there were none (loaders
    /// and the monitor may still write).
    /// </summary>
    public bool ReadOnly { get; }

    public bool Contains(ulong gpa) => gpa - Start < Length;

    /// <summary>The part from <paramref name="start"/> to <paramref name="end"/>, which lie in the slot.</summary>
    internal MemorySlot Part(ulong start, ulong end) => new(start, Region, (ulong)(HostOffset - Region.HostOffset) + (start - Start), end - start, ReadOnly);

    /// <summary>Another slot goes on where this one ends, with the bytes that follow.</summary>
    internal bool Continues(MemorySlot next) => next.Start == End && next.Region == Region && next.Host == Host + Length && next.ReadOnly == ReadOnly;
}
