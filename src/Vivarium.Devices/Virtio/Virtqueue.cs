using Vivarium.Memory;

namespace Vivarium.Devices;

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

    internal ulong DescriptorArea { get; private set; }

    internal ulong DriverArea { get; private set; }

    internal ulong DeviceArea { get; private set; }

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
            if (IsUsable)
                _ring!.Push(chain, written);
            Recycle(chain);
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

    /// <summary>queue_desc, queue_driver and queue_device cannot change under the device's feet.</summary>
    internal void SetAreas(ulong descriptorArea, ulong driverArea, ulong deviceArea)
    {
        if (Enabled)
            return;
        DescriptorArea = descriptorArea;
        DriverArea = driverArea;
        DeviceArea = deviceArea;
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
        DescriptorArea = 0;
        DriverArea = 0;
        DeviceArea = 0;
    }

    internal VirtqueueState Save()
    {
        var registers = new VirtqueueState
        {
            Size = Size,
            Enabled = Enabled,
            DescriptorArea = DescriptorArea,
            DriverArea = DriverArea,
            DeviceArea = DeviceArea,
        };
        return _ring?.Save(registers) ?? registers;
    }

    /// <summary>False if the state cannot be.</summary>
    internal bool TryRestore(VirtqueueState state)
    {
        Reset();
        if (!TrySetSize(state.Size))
            return false;
        SetAreas(state.DescriptorArea, state.DriverArea, state.DeviceArea);
        if (!state.Enabled)
            return true;
        if (!TryEnable())
            return false;
        _ring!.Restore(state);
        return true;
    }

    private VirtqueueRing? CreateRing()
    {
        if ((_device.Features & VirtioFeatures.RingPacked) != 0)
            return null;
        var eventIndex = (_device.Features & VirtioFeatures.EventIdx) != 0;
        if ((Size & (Size - 1)) != 0)
            return null;
        var descriptors = Area(DescriptorArea, SplitRing.DescriptorBytes(Size), SplitRing.DescriptorAlignment);
        var available = Area(DriverArea, SplitRing.AvailableBytes(Size, eventIndex), SplitRing.AvailableAlignment);
        var used = Area(DeviceArea, SplitRing.UsedBytes(Size, eventIndex), SplitRing.UsedAlignment);
        return descriptors == null || available == null || used == null
            ? null
            : new SplitRing(_device.Memory, descriptors, available, used, Size, MaxSize + 1, _device.Features);
    }

    /// <summary>The host address of a part of the ring; null unless it is aligned and all in RAM.</summary>
    private byte* Area(ulong address, ulong length, ulong alignment)
    {
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
        _free.Push(chain);
        Volatile.Write(ref _held, _held - 1);
    }
}
