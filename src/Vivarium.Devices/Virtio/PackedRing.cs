using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The packed format: one ring of descriptors that driver and device both write, and an event suppression structure
/// for each (virtio 1.2, 2.8).
/// </summary>
internal sealed unsafe class PackedRing : VirtqueueRing
{
    public const ulong DescriptorAlignment = 16;
    public const ulong EventAlignment = 4;

    /// <summary>struct pvirtq_event_suppress: descriptor offset and wrap counter, flags.</summary>
    public const ulong EventBytes = 4;

    private const int LengthField = 8;
    private const int IdField = 12;
    private const int FlagsField = 14;

    // Descriptor flags beside those that both formats have.
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;

    private const int EventFlagsField = 2;
    private const ushort WrapBit = 1 << 15;

    /// <summary>struct pvirtq_event_suppress's flags (2.8.10).</summary>
    private enum EventFlags : ushort
    {
        Enable = 0,
        Disable = 1,
        Descriptor = 2,
    }

    private readonly GuestMemory _memory;
    private readonly byte* _descriptors;
    private readonly byte* _driverEvent;
    private readonly byte* _deviceEvent;
    private readonly int _size;
    private readonly int _maxChain;
    private readonly bool _indirect;
    private readonly bool _eventIndex;

    // Where the device looks next, and where it writes next; the wrap counters start as 1.
    private int _nextAvailable;
    private bool _availableWrap = true;
    private int _nextUsed;
    private bool _usedWrap = true;

    /// <summary>Places that the buffers in flight take.</summary>
    private int _descriptorsInFlight;

    /// <summary>Places used since the driver was last asked whether it wants to be told.</summary>
    private int _unsignalled;

    /// <summary>The first of several used descriptors that the driver is to see together, and its flags.</summary>
    private byte* _unpublished;
    private ushort _unpublishedFlags;

    public PackedRing(GuestMemory memory, byte* descriptors, byte* driverEvent, byte* deviceEvent, int size, int maxChain, ulong features)
    {
        _memory = memory;
        _descriptors = descriptors;
        _driverEvent = driverEvent;
        _deviceEvent = deviceEvent;
        _size = size;
        _maxChain = maxChain;
        _indirect = (features & VirtioFeatures.IndirectDesc) != 0;
        _eventIndex = (features & VirtioFeatures.EventIdx) != 0;
    }

    public static ulong DescriptorBytes(int size) => (ulong)size * DescriptorSize;

    public override PopResult TryPop(VirtqueueChain chain)
    {
        if (!IsAvailable())
            return PopResult.Empty;
        chain.Clear();
        chain.Position = _nextAvailable;
        if (!Walk(chain))
            return PopResult.Broken;
        if (_descriptorsInFlight + chain.RingDescriptors > _size)
            return Broken("more buffers are available than the queue holds");
        chain.Seal();
        _descriptorsInFlight += chain.RingDescriptors;
        InFlight++;
        Advance(ref _nextAvailable, ref _availableWrap, chain.RingDescriptors);
        return PopResult.Taken;
    }

    public override void Unpop(VirtqueueChain chain)
    {
        // A position behind where the chain began means that taking it went round.
        if (_nextAvailable <= chain.Position)
            _availableWrap = !_availableWrap;
        _nextAvailable = chain.Position;
        _descriptorsInFlight -= chain.RingDescriptors;
        InFlight--;
    }

    public override void Push(VirtqueueChain chain, uint written, bool publish)
    {
        var descriptor = _descriptors + (nint)_nextUsed * DescriptorSize;
        *(uint*)(descriptor + LengthField) = written;
        *(ushort*)(descriptor + IdField) = chain.Id;
        var flags = (ushort)((_usedWrap ? Available | Used : 0) | (written != 0 ? Write : 0));

        // The driver looks at the descriptors in order: as long as it does not see the first, it sees none behind it.
        if (!publish && _unpublished == null)
        {
            _unpublished = descriptor;
            _unpublishedFlags = flags;
        }
        else
        {
            WriteFlags(descriptor, flags);
        }

        if (publish && _unpublished != null)
        {
            WriteFlags(_unpublished, _unpublishedFlags);
            _unpublished = null;
        }

        Advance(ref _nextUsed, ref _usedWrap, chain.RingDescriptors);
        _unsignalled += chain.RingDescriptors;
        _descriptorsInFlight -= chain.RingDescriptors;
        InFlight--;
    }

    public override void DisableNotifications() => WriteEvent(0, EventFlags.Disable);

    public override bool EnableNotifications()
    {
        if (_eventIndex)
            WriteEvent((ushort)(_nextAvailable | (_availableWrap ? WrapBit : 0)), EventFlags.Descriptor);
        else if (*(ushort*)(_deviceEvent + EventFlagsField) != (ushort)EventFlags.Enable)
            WriteEvent(0, EventFlags.Enable);

        // The driver writes its descriptor and reads our structure, we the other way round: one must see the other's.
        Interlocked.MemoryBarrier();
        return IsAvailable();
    }

    public override bool TakeSignal()
    {
        var used = _unsignalled;
        if (used == 0)
            return false;
        _unsignalled = 0;
        Interlocked.MemoryBarrier();
        var flags = (EventFlags)Volatile.Read(ref *(ushort*)(_driverEvent + EventFlagsField));
        if (flags != EventFlags.Descriptor || !_eventIndex)
            return flags != EventFlags.Disable;

        // Every place has been written since.
        if (used >= _size)
            return true;
        var offsetAndWrap = Volatile.Read(ref *(ushort*)_driverEvent);
        var offset = offsetAndWrap & ~WrapBit;
        if ((offsetAndWrap & WrapBit) != 0 != _usedWrap)
            offset -= _size;
        return HasPassed(offset, _nextUsed, _nextUsed - used);
    }

    public override VirtqueueState Save(VirtqueueState registers) => registers with
    {
        NextAvailable = (ushort)_nextAvailable,
        AvailableWrap = _availableWrap,
        NextUsed = (ushort)_nextUsed,
        UsedWrap = _usedWrap,
        Unsignalled = (ushort)_unsignalled,
    };

    public override bool TryRestore(VirtqueueState state)
    {
        if (state.NextAvailable >= _size || state.NextUsed >= _size)
            return false;
        _nextAvailable = state.NextAvailable;
        _availableWrap = state.AvailableWrap;
        _nextUsed = state.NextUsed;
        _usedWrap = state.UsedWrap;
        _unsignalled = state.Unsignalled;
        return true;
    }

    /// <summary>The next place holds a descriptor that the driver has made available and nobody has used (2.8.1).</summary>
    private bool IsAvailable()
    {
        var flags = Volatile.Read(ref *(ushort*)(_descriptors + (nint)_nextAvailable * DescriptorSize + FlagsField));
        return (flags & Available) != 0 == _availableWrap && (flags & Used) != 0 != _availableWrap;
    }

    /// <summary>Release: whoever sees the flags sees the rest.</summary>
    private void WriteFlags(byte* descriptor, ushort flags)
    {
        Volatile.Write(ref *(ushort*)(descriptor + FlagsField), flags);
        _memory.NoteWritten(descriptor, DescriptorSize);
    }

    private void Advance(ref int position, ref bool wrap, int places)
    {
        position += places;
        if (position < _size)
            return;
        position -= _size;
        wrap = !wrap;
    }

    private void WriteEvent(ushort offsetAndWrap, EventFlags flags)
    {
        *(ushort*)_deviceEvent = offsetAndWrap;
        Volatile.Write(ref *(ushort*)(_deviceEvent + EventFlagsField), (ushort)flags);
        _memory.NoteWritten(_deviceEvent, EventBytes);
    }

    /// <summary>Follows a chain: places in a row, the last of which may name an indirect table and has the buffer's identifier.</summary>
    private bool Walk(VirtqueueChain chain)
    {
        var position = _nextAvailable;
        for (var count = 1; count <= _size; count++)
        {
            // The guest may change the descriptor meanwhile: each field is read once.
            var descriptor = _descriptors + (nint)position * DescriptorSize;
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var length = Volatile.Read(ref *(uint*)(descriptor + LengthField));
            var flags = Volatile.Read(ref *(ushort*)(descriptor + FlagsField));
            if ((flags & Indirect) != 0)
            {
                if (!_indirect || (flags & Next) != 0)
                    return Refuse("an indirect descriptor is not allowed there");
                if (!AddIndirect(chain, address, length))
                    return false;
            }
            else if (!TryAdd(chain, _memory, address, length, (flags & Write) != 0))
            {
                return false;
            }

            if ((flags & Next) == 0)
            {
                chain.Id = Volatile.Read(ref *(ushort*)(descriptor + IdField));
                chain.RingDescriptors = count;
                return true;
            }

            if (++position == _size)
                position = 0;
        }

        return Refuse("a chain is longer than the queue");
    }

    /// <summary>An indirect table holds one buffer, all its entries in order (2.8.7).</summary>
    private bool AddIndirect(VirtqueueChain chain, ulong address, uint length)
    {
        if (length == 0 || length % DescriptorSize != 0 || length / DescriptorSize > (uint)_maxChain)
            return Refuse("an indirect table has an impossible size");
        var table = _memory.TryGetRam(address, length, out var contiguous);
        if (table == null || contiguous != length)
            return Refuse("an indirect table does not lie in RAM");
        for (var entry = table; entry < table + length; entry += DescriptorSize)
        {
            var flags = Volatile.Read(ref *(ushort*)(entry + FlagsField));
            if (!TryAdd(chain, _memory, Volatile.Read(ref *(ulong*)entry), Volatile.Read(ref *(uint*)(entry + LengthField)), (flags & Write) != 0))
                return false;
        }

        return true;
    }
}
