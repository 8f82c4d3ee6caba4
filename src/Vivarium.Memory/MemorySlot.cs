namespace Vivarium.Memory;

/// <summary>
/// One range of guest-physical addresses backed by host memory: RAM or ROM.
/// All slots of a machine are windows into one memfd, so that a machine's memory can be handed to KVM,
/// to another process or to a snapshot without a copy.
/// </summary>
public sealed unsafe class MemorySlot
{
    internal MemorySlot(ulong start, ulong length, long fileOffset, byte* host, PageFlags* flags, bool readOnly)
    {
        Start = start;
        Length = length;
        FileOffset = fileOffset;
        Host = host;
        Flags = flags;
        ReadOnly = readOnly;
    }

    /// <summary>First guest-physical address (GPA), page-aligned.</summary>
    public ulong Start { get; }

    /// <summary>Size in bytes, a multiple of 4096.</summary>
    public ulong Length { get; }

    /// <summary>First GPA past the slot.</summary>
    public ulong End => Start + Length;

    /// <summary>Offset of the slot's first byte in the memfd.</summary>
    public long FileOffset { get; }

    /// <summary>Host address of the slot's first byte (HVA).</summary>
    public byte* Host { get; }

    /// <summary>One <see cref="PageFlags"/> byte per 4 KiB page.</summary>
    public PageFlags* Flags { get; }

    /// <summary>True for ROM: guest writes are dropped (loaders and the monitor may still write).</summary>
    public bool ReadOnly { get; }

    public bool Contains(ulong gpa) => gpa - Start < Length;
}
