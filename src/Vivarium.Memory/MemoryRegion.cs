namespace Vivarium.Memory;

/// <summary>
/// A piece of host memory that can stand in the guest-physical address space, wholly or in parts, or nowhere: RAM, a ROM's
/// bytes, a frame buffer. <see cref="GuestMemory.Allocate"/> makes it and <see cref="GuestMemory.Map"/> gives it a place.
/// </summary>
public sealed unsafe class MemoryRegion
{
    internal MemoryRegion(ulong length, long hostOffset, byte* host, PageFlags* flags, bool isRam)
    {
        Length = length;
        HostOffset = hostOffset;
        Host = host;
        Flags = flags;
        IsRam = isRam;
    }

    /// <summary>Size in bytes, a multiple of 4096.</summary>
    public ulong Length { get; }

    /// <summary>Offset of the first byte in the reserved memory.</summary>
    public long HostOffset { get; }

    /// <summary>Host address of the first byte (HVA); it holds as long as the memory does, wherever the region is mapped.</summary>
    public byte* Host { get; }

    /// <summary>One <see cref="PageFlags"/> byte per 4 KiB page.</summary>
    public PageFlags* Flags { get; }

    /// <summary>It counts as the machine's memory (<see cref="GuestMemory.RamSize"/>).</summary>
    public bool IsRam { get; }

    /// <summary>Pages were found dirty when <see cref="GuestMemory.TakeDirty"/> last looked.</summary>
    internal bool WasDirty { get; set; }

    /// <summary>The bytes, for whoever owns the region; a change that the guest can see is reported by <see cref="GuestMemory.NoteWritten"/>.</summary>
    public Span<byte> Bytes => new(Host, checked((int)Length));
}
