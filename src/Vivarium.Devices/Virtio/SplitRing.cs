using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>The split format: descriptor table, available ring, used ring (virtio 1.2, 2.7).</summary>
internal sealed unsafe class SplitRing : VirtqueueRing
{
    public const ulong DescriptorAlignment = 16;
    public const ulong AvailableAlignment = 2;
    public const ulong UsedAlignment = 4;

    private const int UsedElementSize = 8;

    // Available ring: flags, index, ring, used_event. Used ring: flags, index, ring, avail_event.
    private const int IndexOffset = 2;
    private const int RingOffset = 4;
    private const ushort NoInterrupt = 1;
    private const ushort NoNotify = 1;

    private readonly GuestMemory _memory;
    private readonly byte* _descriptors;
    private readonly byte* _available;
    private readonly byte* _used;
    private readonly int _size;
    private readonly int _maxChain;
    private readonly bool _indirect;
    private readonly bool _eventIndex;
    private ushort _nextAvailable;
    private ushort _nextUsed;
    private ushort _signalled;

    public SplitRing(GuestMemory memory, byte* descriptors, byte* available, byte* used, int size, int maxChain, ulong features)
    {
        _memory = memory;
        _descriptors = descriptors;
        _available = available;
        _used = used;
        _size = size;
        _maxChain = maxChain;
        _indirect = (features & VirtioFeatures.IndirectDesc) != 0;
        _eventIndex = (features & VirtioFeatures.EventIdx) != 0;
    }

    private ushort* UsedFlags => (ushort*)_used;

    private ushort* UsedIndex => (ushort*)(_used + IndexOffset);

    /// <summary>Written by the device: notify when the available index passes it.</summary>
    private ushort* AvailableEvent => (ushort*)(_used + RingOffset + _size * UsedElementSize);

    /// <summary>Written by the driver: interrupt when the used index passes it.</summary>
    private ushort* UsedEvent => (ushort*)(_available + RingOffset + _size * sizeof(ushort));

    public static ulong DescriptorBytes(int size) => (ulong)size * DescriptorSize;

    public static ulong AvailableBytes(int size, bool eventIndex) => RingOffset + (ulong)size * sizeof(ushort) + (eventIndex ? 2u : 0);

    public static ulong UsedBytes(int size, bool eventIndex) => RingOffset + (ulong)size * UsedElementSize + (eventIndex ? 2u : 0);

    public override PopResult TryPop(VirtqueueChain chain)
    {
        // Reading the index with acquire makes what the driver wrote before it visible.
        var waiting = (ushort)(AvailableIndex() - _nextAvailable);
        if (waiting == 0)
            return PopResult.Empty;
        if (waiting > _size || InFlight >= _size)
            return Broken("more buffers are available than the queue holds");
        var head = *(ushort*)(_available + RingOffset + (_nextAvailable & (_size - 1)) * sizeof(ushort));
        if (head >= _size)
            return Broken("the available ring names a descriptor beyond the table");
        chain.Clear();
        chain.Id = head;
        if (!Walk(chain, head))
            return PopResult.Broken;
        chain.Seal();
        _nextAvailable++;
        InFlight++;
        return PopResult.Taken;
    }

    public override void Unpop(VirtqueueChain chain)
    {
        _nextAvailable--;
        InFlight--;
    }

    public override void Push(VirtqueueChain chain, uint written, bool publish)
    {
        var element = _used + RingOffset + (_nextUsed & (_size - 1)) * UsedElementSize;
        *(uint*)element = chain.Id;
        *(uint*)(element + sizeof(uint)) = written;
        _nextUsed++;
        InFlight--;
        _memory.NoteWritten(element, UsedElementSize);
        if (!publish)
            return;

        // Release: whoever sees the index sees the elements and the buffers.
        Volatile.Write(ref *UsedIndex, _nextUsed);
        _memory.NoteWritten((byte*)UsedIndex, sizeof(ushort));
    }

    public override void DisableNotifications()
    {
        // With the event index, an index that is not moved on does it.
        if (!_eventIndex)
            WriteUsed(UsedFlags, NoNotify);
    }

    public override bool EnableNotifications()
    {
        if (_eventIndex)
            WriteUsed(AvailableEvent, _nextAvailable);
        else if (*UsedFlags != 0)
            WriteUsed(UsedFlags, 0);

        // The driver writes its index and reads ours, we the other way round: one must see the other's.
        Interlocked.MemoryBarrier();
        return AvailableIndex() != _nextAvailable;
    }

    public override bool TakeSignal()
    {
        var old = _signalled;
        var now = _nextUsed;
        if (old == now)
            return false;
        _signalled = now;
        Interlocked.MemoryBarrier();
        return _eventIndex
            ? HasPassed(Volatile.Read(ref *UsedEvent), now, old)
            : (Volatile.Read(ref *(ushort*)_available) & NoInterrupt) == 0;
    }

    public override VirtqueueState Save(VirtqueueState registers) =>
        registers with { NextAvailable = _nextAvailable, NextUsed = _nextUsed, Unsignalled = (ushort)(_nextUsed - _signalled) };

    public override bool TryRestore(VirtqueueState state)
    {
        _nextAvailable = state.NextAvailable;
        _nextUsed = state.NextUsed;
        _signalled = (ushort)(state.NextUsed - state.Unsignalled);
        return true;
    }

    private ushort AvailableIndex() => Volatile.Read(ref *(ushort*)(_available + IndexOffset));

    private void WriteUsed(ushort* field, ushort value)
    {
        Volatile.Write(ref *field, value);
        _memory.NoteWritten((byte*)field, sizeof(ushort));
    }

    /// <summary>Follows a chain, through the descriptor table and at most one indirect table at its end (2.7.5.3).</summary>
    private bool Walk(VirtqueueChain chain, int index)
    {
        var table = _descriptors;
        var entries = _size;
        var isIndirect = false;
        for (var count = 0; count < _maxChain; count++)
        {
            // The guest may change the descriptor meanwhile: each field is read once.
            var descriptor = table + (nint)index * DescriptorSize;
            var address = Volatile.Read(ref *(ulong*)descriptor);
            var length = Volatile.Read(ref *(uint*)(descriptor + 8));
            var flags = Volatile.Read(ref *(ushort*)(descriptor + 12));
            var next = Volatile.Read(ref *(ushort*)(descriptor + 14));
            if ((flags & Indirect) != 0)
            {
                if (!_indirect || isIndirect || (flags & Next) != 0 || length == 0 || length % DescriptorSize != 0)
                    return Refuse("an indirect descriptor is not allowed there");
                table = _memory.TryGetRam(address, length, out var contiguous);
                if (table == null || contiguous != length)
                    return Refuse("an indirect table does not lie in RAM");
                entries = (int)(length / DescriptorSize);
                isIndirect = true;
                index = 0;
                continue;
            }

            if (!TryAdd(chain, _memory, address, length, (flags & Write) != 0))
                return false;
            if ((flags & Next) == 0)
                return true;
            if (next >= entries)
                return Refuse("a chain leads to a descriptor beyond the table");
            index = next;
        }

        return Refuse("a chain is longer than the queue");
    }
}
