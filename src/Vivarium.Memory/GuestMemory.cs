using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Memory.Host;

namespace Vivarium.Memory;

/// <summary>
/// The guest-physical address map: which GPAs are RAM or ROM, and where they stand in the host.
/// Everything that is not in a slot is MMIO or nothing. Accesses through this type never leave a slot.
/// </summary>
/// <remarks>
/// The map may change while the machine runs (<see cref="Map"/>, <see cref="Unmap"/>): each change is a new array of slots,
/// published by one store, so that looking up needs no lock. Regions never move in the host, and stay to the end: who still has
/// a host address from before a change reaches memory that the guest does not see there any more, and nothing worse.
/// </remarks>
public sealed unsafe partial class GuestMemory : IDisposable
{
    public const int PageShift = 12;
    public const ulong PageSize = 1ul << PageShift;
    public const ulong PageMask = PageSize - 1;

    private const ulong ReportLimit = 1ul << 30;

    private readonly Lock _mapping = new();
    private readonly List<MemoryRegion> _regions = [];
    private readonly byte* _host;
    private readonly PageFlags* _flags;
    private readonly ulong _capacity;
    private ulong _used;
    private bool _disposed;

    /// <summary>The largest first: nearly all accesses are to the machine's memory proper.</summary>
    private volatile MemorySlot[] _slots = [];

    /// <summary>Reserves host memory for <paramref name="capacity"/> bytes of RAM and ROM; pages cost nothing until touched.</summary>
    /// <exception cref="OutOfMemoryException">The host refuses the reservation.</exception>
    public GuestMemory(ulong capacity)
    {
        ArgumentOutOfRangeException.ThrowIfZero(capacity);
        _capacity = (capacity + PageMask) & ~PageMask;
        _host = HugePages.Map((nuint)_capacity);
        if (_host == null)
        {
            throw new OutOfMemoryException($"cannot reserve {_capacity >> 20} MiB of guest memory: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        _flags = (PageFlags*)NativeMemory.AllocZeroed((nuint)(_capacity >> PageShift), 1);
    }

    /// <summary>Host address of the first byte behind the slots (page-aligned); <see cref="MemorySlot.HostOffset"/> counts from here.</summary>
    public byte* Host => _host;

    /// <summary>How many bytes are reserved there, a multiple of the page size.</summary>
    public ulong Capacity => _capacity;

    /// <summary>The map as it is now, in no particular order.</summary>
    public IReadOnlyList<MemorySlot> Slots => _slots;

    /// <summary>The machine's memory in bytes: the sizes of all regions of RAM, mapped or not.</summary>
    public ulong RamSize
    {
        get
        {
            lock (_mapping)
            {
                ulong sum = 0;
                foreach (MemoryRegion region in _regions)
                {
                    sum += region.IsRam ? region.Length : 0;
                }

                return sum;
            }
        }
    }

    /// <summary>How much of it the host holds for the guest, in bytes: what was touched and not given back.</summary>
    public ulong HostBytes => LinuxMemory.ResidentBytes(_host, (nuint)_capacity);

    /// <summary>Called (on the writing thread, after the bytes have changed) when <see cref="Write(ulong, ReadOnlySpan{byte})"/> or what <see cref="NoteWritten"/> reports touches a page flagged <see cref="PageFlags.Code"/>.</summary>
    public Action<ulong, int>? CodeWritten { get; set; }

    /// <summary>The slot that holds <paramref name="gpa"/>, or null where there is no RAM or ROM.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MemorySlot? Find(ulong gpa)
    {
        foreach (MemorySlot slot in _slots)
        {
            if (slot.Contains(gpa))
            {
                return slot;
            }
        }

        return null;
    }

    /// <summary>True if the whole range lies in one slot.</summary>
    public bool IsBacked(ulong gpa, ulong length)
    {
        MemorySlot? slot = Find(gpa);
        return slot is not null && length <= slot.End - gpa;
    }

    /// <summary>Copies guest memory out. Returns false, with the buffer undefined, if any byte is not backed.</summary>
    public bool TryRead(ulong gpa, Span<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            MemorySlot? slot = Find(gpa);
            if (slot is null)
            {
                return false;
            }

            int part = (int)Math.Min((ulong)buffer.Length, slot.End - gpa);
            new ReadOnlySpan<byte>(slot.Host + (gpa - slot.Start), part).CopyTo(buffer);
            buffer = buffer[part..];
            gpa += (ulong)part;
        }

        return true;
    }

    /// <summary>Copies into guest memory (RAM or ROM). Returns false if any byte is not backed; bytes before it were written.</summary>
    public bool TryWrite(ulong gpa, ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            MemorySlot? slot = Find(gpa);
            if (slot is null)
            {
                return false;
            }

            int part = (int)Math.Min((ulong)data.Length, slot.End - gpa);
            data[..part].CopyTo(new Span<byte>(slot.Host + (gpa - slot.Start), part));

            // The bytes must be there before the flags are looked at: an engine sets the flag and then reads the bytes.
            Interlocked.MemoryBarrier();
            NoteWrite(slot.Host + (gpa - slot.Start), (ulong)part);
            data = data[part..];
            gpa += (ulong)part;
        }

        return true;
    }

    /// <summary>As <see cref="TryWrite"/>, as a device writes: ROM is not written, and counts as not backed.</summary>
    public bool TryWriteRam(ulong gpa, ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            byte* host = TryGetRam(gpa, (ulong)data.Length, out ulong part);
            if (host == null)
            {
                return false;
            }

            data[..(int)part].CopyTo(new Span<byte>(host, (int)part));
            NoteWritten(host, part);
            data = data[(int)part..];
            gpa += part;
        }

        return true;
    }

    /// <exception cref="ArgumentOutOfRangeException">The range is not backed.</exception>
    public void Read(ulong gpa, Span<byte> buffer)
    {
        if (!TryRead(gpa, buffer))
        {
            throw new ArgumentOutOfRangeException(nameof(gpa), $"guest memory {gpa:x}+{buffer.Length:x} is not RAM");
        }
    }

    /// <exception cref="ArgumentOutOfRangeException">The range is not backed.</exception>
    public void Write(ulong gpa, ReadOnlySpan<byte> data)
    {
        if (!TryWrite(gpa, data))
        {
            throw new ArgumentOutOfRangeException(nameof(gpa), $"guest memory {gpa:x}+{data.Length:x} is not RAM");
        }
    }

    public T Read<T>(ulong gpa) where T : unmanaged
    {
        T value;
        Read(gpa, new Span<byte>(&value, sizeof(T)));
        return value;
    }

    public void Write<T>(ulong gpa, T value) where T : unmanaged => Write(gpa, new ReadOnlySpan<byte>(&value, sizeof(T)));

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _slots = [];
        _ = LinuxMemory.Munmap(_host, (nuint)_capacity);
        NativeMemory.Free(_flags);
    }

    /// <summary>
    /// The host address of RAM for direct access by a device, or null where <paramref name="gpa"/> is ROM or nothing.
    /// <paramref name="contiguous"/> is how much of <paramref name="length"/> lies there in one piece; a caller asks again
    /// for the rest, which is elsewhere or not RAM. The address holds as long as the memory does; what is written
    /// through it must be reported by <see cref="NoteWritten"/>.
    /// </summary>
    public byte* TryGetRam(ulong gpa, ulong length, out ulong contiguous)
    {
        MemorySlot? slot = Find(gpa);
        if (slot is null || slot.ReadOnly)
        {
            contiguous = 0;
            return null;
        }

        contiguous = Math.Min(length, slot.End - gpa);
        return slot.Host + (gpa - slot.Start);
    }

    /// <summary>
    /// A device has written <paramref name="length"/> bytes through an address from <see cref="TryGetRam"/>: marks the
    /// pages dirty and reports those with code. To be called after the bytes have changed and before the guest is told.
    /// </summary>
    public void NoteWritten(byte* host, ulong length)
    {
        if (length == 0)
        {
            return;
        }

        // An engine flags a page and then reads the code in it; we have changed the bytes and read the flag. One of the
        // two must see what the other did.
        Interlocked.MemoryBarrier();
        if ((ulong)(host - _host) < _capacity)
        {
            NoteWrite(host, Math.Min(length, _capacity - (ulong)(host - _host)));
        }
    }

    /// <summary>
    /// Gives RAM back to the host: the whole pages in a range, which read as zero afterwards until they are written again. It
    /// counts as a write (<see cref="NoteWritten"/>). Returns how many bytes were given back, 0 where there is no RAM.
    /// </summary>
    /// <param name="gpa">Where the range begins; only what lies in the same slot is given back.</param>
    /// <param name="length">In bytes.</param>
    public ulong Release(ulong gpa, ulong length)
    {
        MemorySlot? slot = Find(gpa);
        return slot is null || slot.ReadOnly ? 0 : Release(slot, gpa - slot.Start, Math.Min(length, slot.End - gpa));
    }

    /// <summary>The same for a range that begins at an address from <see cref="TryGetRam"/>.</summary>
    public ulong Release(byte* host, ulong length)
    {
        foreach (MemorySlot slot in _slots)
        {
            ulong offset = (ulong)(host - slot.Host);
            if (offset < slot.Length && !slot.ReadOnly)
            {
                return Release(slot, offset, Math.Min(length, slot.Length - offset));
            }
        }

        return 0;
    }

    private ulong Release(MemorySlot slot, ulong offset, ulong length)
    {
        ulong first = (offset + PageMask) & ~PageMask;
        ulong end = (offset + length) & ~PageMask;
        if (first >= end || !LinuxMemory.Discard(slot.Host + first, (nuint)(end - first)))
        {
            return 0;
        }

        // As in NoteWritten.
        Interlocked.MemoryBarrier();
        NoteWrite(slot.Host + first, end - first);
        return end - first;
    }

    private void NoteWrite(byte* host, ulong length)
    {
        PageFlags* page = _flags + ((ulong)(host - _host) >> PageShift);
        PageFlags* last = _flags + (((ulong)(host - _host) + length - 1) >> PageShift);
        bool code = false;
        for (; page <= last; page++)
        {
            // Nearly always the page was written before and holds no code.
            var flags = (PageFlags)Volatile.Read(ref *(byte*)page);
            if (flags == PageFlags.None)
            {
                continue;
            }

            code |= (flags & PageFlags.Code) != 0;
            SlotFlags.Clear(page, PageFlags.Clean);
        }

        if (code)
        {
            ReportCode(host, length);
        }
    }

    /// <summary>Tells of changed bytes wherever the guest sees them.</summary>
    private void ReportCode(byte* host, ulong length)
    {
        foreach (MemorySlot slot in _slots)
        {
            byte* first = host > slot.Host ? host : slot.Host;
            byte* end = host + length < slot.Host + slot.Length ? host + length : slot.Host + slot.Length;

            // The report counts bytes in an int; a range of 2 GiB is reported in parts.
            while (first < end)
            {
                int part = (int)Math.Min((ulong)(end - first), ReportLimit);
                CodeWritten?.Invoke(slot.Start + (ulong)(first - slot.Host), part);
                first += part;
            }
        }
    }
}
