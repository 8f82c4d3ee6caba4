using System.Numerics;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>The parts of a virtqueue in guest memory (virtio 1.2, 2.6).</summary>
internal enum VirtqueueArea
{
    Descriptor,
    Driver,
    Device,
}

/// <summary>
/// A virtqueue (virtio 1.2, 2.6): the registers by which the driver sets it up, and, enabled, the buffers in it. All
/// members take the device's lock, which may be held already, and may be called on any thread; a queue that is not
/// enabled, or whose device needs a reset, is empty and ignores what is pushed.
/// </summary>
public sealed unsafe class Virtqueue
{
    /// <summary>The greatest size of either format.</summary>
    public const int SizeLimit = 32768;

    private readonly VirtioDevice _device;
    private readonly Stack<VirtqueueChain> _free = new();
    private readonly ulong[] _areas = new ulong[3];
    private VirtqueueRing? _ring;
    private int _held;

    internal Virtqueue(VirtioDevice device, int index, ushort maxSize)
    {
        _device = device;
        Index = index;
        MaxSize = maxSize;
        Size = maxSize;
    }

    public int Index { get; }

    /// <summary>The size that the device offers.</summary>
    public ushort MaxSize { get; }

    /// <summary>The size that the driver has chosen.</summary>
    public ushort Size { get; private set; }

    /// <summary>The driver has set the queue up and the device may use it.</summary>
    public bool Enabled { get; private set; }

    /// <summary>Buffers that the device holds.</summary>
    internal int Held => Volatile.Read(ref _held);

    private bool IsUsable => _ring is not null && _device.IsRunning;

    /// <summary>
    /// Takes the next available buffer. False if there is none, or if the driver has made a mistake: then the device
    /// needs a reset and this queue gives nothing any more.
    /// </summary>
    public bool TryPop(out VirtqueueChain chain)
    {
        lock (_device.Lock)
        {
            chain = null!;
            if (!IsUsable)
                return false;
            if (!_free.TryPop(out var taken))
                taken = new VirtqueueChain();
            switch (_ring!.TryPop(taken))
            {
                case VirtqueueRing.PopResult.Taken:
                    _held++;
                    taken.Ring = _ring;
                    chain = taken;
                    return true;
                case VirtqueueRing.PopResult.Broken:
                    _device.NeedReset($"queue {Index}: {_ring.Error}");
                    break;
            }

            _free.Push(taken);
            return false;
        }
    }

    /// <summary>Puts back what <see cref="TryPop"/> gave last; several in the reverse order.</summary>
    public void Unpop(VirtqueueChain chain)
    {
        lock (_device.Lock)
        {
            if (chain.Ring == _ring)
                _ring?.Unpop(chain);
            Recycle(chain);
        }
    }

    /// <summary>
    /// Gives a buffer back to the driver; <paramref name="written"/> bytes from the writable part's beginning have
    /// changed. The driver learns of it by <see cref="Signal"/>, or by looking.
    /// </summary>
    public void Push(VirtqueueChain chain, uint written)
    {
        // Writing to the page flags needs no lock.
        NoteWritten(chain, written);
        lock (_device.Lock)
        {
            if (IsUsable && chain.Ring == _ring)
                _ring!.Push(chain, written, publish: true);
            Recycle(chain);
        }
    }

    /// <summary>
    /// Gives several buffers back at once: the driver sees all of them or none, in the order in which they were taken.
    /// </summary>
    public void Push(ReadOnlySpan<VirtqueueChain> chains, ReadOnlySpan<uint> written)
    {
        for (var i = 0; i < chains.Length; i++)
            NoteWritten(chains[i], written[i]);
        lock (_device.Lock)
        {
            for (var i = 0; i < chains.Length; i++)
            {
                if (IsUsable && chains[i].Ring == _ring)
                    _ring!.Push(chains[i], written[i], publish: i == chains.Length - 1);
                Recycle(chains[i]);
            }
        }
    }

    /// <summary>Interrupts the driver if it wants to know of what has been pushed since the last call.</summary>
    public void Signal()
    {
        lock (_device.Lock)
        {
            if (!IsUsable || !_ring!.TakeSignal())
                return;
            _device.Interrupts?.SignalQueue(Index);
        }
    }

    /// <summary>Tells the driver that notifications are not needed for now: the device looks by itself. Advice only.</summary>
    public void DisableNotifications()
    {
        lock (_device.Lock)
        {
            if (IsUsable)
                _ring!.DisableNotifications();
        }
    }

    /// <summary>Asks for a notification of the next buffer. True if one is there already, for which none will come.</summary>
    public bool EnableNotifications()
    {
        lock (_device.Lock)
            return IsUsable && _ring!.EnableNotifications();
    }

    /// <summary>queue_size; false if the size is not possible, which changes nothing.</summary>
    internal bool TrySetSize(ushort size)
    {
        if (Enabled || size == 0 || size > MaxSize)
            return false;
        Size = size;
        return true;
    }

    /// <summary>One half of queue_desc, queue_driver or queue_device.</summary>
    internal uint ReadAddress(VirtqueueArea area, bool high) => (uint)(_areas[(int)area] >> (high ? 32 : 0));

    /// <summary>Sets one half; the areas cannot change under the device's feet.</summary>
    internal void WriteAddress(VirtqueueArea area, bool high, uint value)
    {
        if (Enabled)
            return;
        ref var address = ref _areas[(int)area];
        address = high ? (uint)address | (ulong)value << 32 : (address & ~(ulong)uint.MaxValue) | value;
    }

    /// <summary>queue_enable. False if the ring cannot be where the driver says.</summary>
    internal bool TryEnable()
    {
        if (Enabled)
            return true;
        _ring = CreateRing();
        Enabled = _ring is not null;
        return Enabled;
    }

    /// <summary>The device uses the ring no more; the driver's settings are kept.</summary>
    internal void Disable()
    {
        Enabled = false;
        _ring = null;
    }

    /// <summary>What the queue is after reset.</summary>
    internal void Reset()
    {
        Disable();
        Size = MaxSize;
        Array.Clear(_areas);
    }

    internal VirtqueueState Save()
    {
        var registers = new VirtqueueState
        {
            Size = Size,
            Enabled = Enabled,
            DescriptorArea = _areas[(int)VirtqueueArea.Descriptor],
            DriverArea = _areas[(int)VirtqueueArea.Driver],
            DeviceArea = _areas[(int)VirtqueueArea.Device],
        };
        return _ring?.Save(registers) ?? registers;
    }

    /// <summary>False if the state cannot be.</summary>
    internal bool TryRestore(VirtqueueState state)
    {
        Reset();
        if (!TrySetSize(state.Size))
            return false;
        _areas[(int)VirtqueueArea.Descriptor] = state.DescriptorArea;
        _areas[(int)VirtqueueArea.Driver] = state.DriverArea;
        _areas[(int)VirtqueueArea.Device] = state.DeviceArea;
        if (!state.Enabled)
            return true;
        if (!TryEnable())
            return false;
        return _ring!.TryRestore(state);
    }

    private VirtqueueRing? CreateRing()
    {
        var features = _device.Features;
        var eventIndex = (features & VirtioFeatures.EventIdx) != 0;

        // With an indirect table, a chain may be as long as the queue that was offered.
        var maxChain = MaxSize + 1;
        if ((features & VirtioFeatures.RingPacked) != 0)
        {
            var ring = Area(VirtqueueArea.Descriptor, PackedRing.DescriptorBytes(Size), PackedRing.DescriptorAlignment);
            var driverEvent = Area(VirtqueueArea.Driver, PackedRing.EventBytes, PackedRing.EventAlignment);
            var deviceEvent = Area(VirtqueueArea.Device, PackedRing.EventBytes, PackedRing.EventAlignment);
            return ring == null || driverEvent == null || deviceEvent == null
                ? null
                : new PackedRing(_device.Memory, ring, driverEvent, deviceEvent, Size, maxChain, features);
        }

        // Indexes are taken modulo the size, which must divide 2^16.
        if (!BitOperations.IsPow2((uint)Size))
            return null;
        var descriptors = Area(VirtqueueArea.Descriptor, SplitRing.DescriptorBytes(Size), SplitRing.DescriptorAlignment);
        var available = Area(VirtqueueArea.Driver, SplitRing.AvailableBytes(Size, eventIndex), SplitRing.AvailableAlignment);
        var used = Area(VirtqueueArea.Device, SplitRing.UsedBytes(Size, eventIndex), SplitRing.UsedAlignment);
        return descriptors == null || available == null || used == null
            ? null
            : new SplitRing(_device.Memory, descriptors, available, used, Size, maxChain, features);
    }

    /// <summary>The host address of a part of the ring; null unless it is aligned and all in RAM.</summary>
    private byte* Area(VirtqueueArea area, ulong length, ulong alignment)
    {
        var address = _areas[(int)area];
        if (address % alignment != 0)
            return null;
        var host = _device.Memory.TryGetRam(address, length, out var contiguous);
        return contiguous == length ? host : null;
    }

    private void NoteWritten(VirtqueueChain chain, ulong written)
    {
        foreach (ref readonly var segment in chain.WrittenSegments)
        {
            if (written == 0)
                return;
            var part = Math.Min(written, segment.Length);
            _device.Memory.NoteWritten(segment.Address, part);
            written -= part;
        }
    }

    private void Recycle(VirtqueueChain chain)
    {
        chain.Ring = null;
        _free.Push(chain);
        Volatile.Write(ref _held, _held - 1);
    }
}
