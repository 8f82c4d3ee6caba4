using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// What all virtio devices have in common (virtio 1.2, 2): status, features, configuration space, queues, reset. A
/// device gives its type, features and queues to the constructor, keeps its configuration in <see cref="Config"/>, and
/// serves buffers in <see cref="Serve"/>. How the guest finds it is the transport's business.
/// </summary>
/// <remarks>
/// One lock per device, held for register accesses and while a ring is touched, never while a device's backend works.
/// A notification is served on the vCPU thread that gave it; a device may keep a chain and push it later on
/// any thread. Reset waits until every chain that a device holds has come back.
/// Lock order: the device's lock, then those of interrupt delivery.
/// </remarks>
public abstract class VirtioDevice : IDisposable
{
    /// <summary>What one notification has served before the vCPU's thread goes on, in bytes.</summary>
    private const long ServedAtOnce = 64 << 20;

    /// <summary>Stands for features beyond the 64 that there are, which are never offered.</summary>
    private const ulong UnofferedFeature = 1ul << 63;

    private readonly Virtqueue[] _queues;
    private readonly byte[] _config;
    private VirtioStatus _status;
    private ulong _driverFeatures;
    private byte _configGeneration;
    private bool _memoryAccess = true;

    /// <summary>Resets under way: several processors may reset at once, and none may set up what another is about to clear.</summary>
    private int _resets;

    /// <param name="type">What the driver looks for.</param>
    /// <param name="features">The device's own feature bits; those of rings and transports are added.</param>
    /// <param name="memory">The RAM that the queues are in.</param>
    /// <param name="configSize">The size of the configuration space in bytes.</param>
    /// <param name="queueSizes">The greatest size of each queue: powers of two.</param>
    protected VirtioDevice(VirtioDeviceType type, ulong features, GuestMemory memory, int configSize, params ReadOnlySpan<ushort> queueSizes)
    {
        Type = type;
        Memory = memory;
        OfferedFeatures = features | VirtioFeatures.Common;
        _config = new byte[configSize];
        _queues = new Virtqueue[queueSizes.Length];
        for (var i = 0; i < _queues.Length; i++)
            _queues[i] = new Virtqueue(this, i, queueSizes[i]);
    }

    public VirtioDeviceType Type { get; }

    public GuestMemory Memory { get; }

    /// <summary>What the driver may choose from.</summary>
    public ulong OfferedFeatures { get; private set; }

    /// <summary>What driver and device have agreed on; nothing before FEATURES_OK.</summary>
    public ulong Features { get; private set; }

    public ReadOnlySpan<Virtqueue> Queues => _queues;

    /// <summary>Told, once each time, what the driver did wrong when the device needs a reset. Any thread, device's lock held.</summary>
    public Action<string>? Broken { get; set; }

    /// <summary>Set by the transport.</summary>
    internal IVirtioInterrupts? Interrupts { get; set; }

    /// <summary>The device's one lock. Entering it again on the same thread is allowed.</summary>
    protected internal Lock Lock { get; } = new();

    internal VirtioStatus Status => _status;

    internal ulong DriverFeatures => _driverFeatures;

    internal byte ConfigGeneration => _configGeneration;

    internal int ConfigSize => _config.Length;

    /// <summary>The driver is ready and nothing is broken: queues may be used.</summary>
    internal bool IsRunning =>
        (_status & (VirtioStatus.DriverOk | VirtioStatus.DeviceNeedsReset)) == VirtioStatus.DriverOk && _memoryAccess;

    /// <summary>The device configuration space as the driver reads it. Change it with the lock held; <see cref="ConfigChanged"/> tells the driver.</summary>
    protected Span<byte> Config => _config;

    /// <summary>Takes features out of the offer, before a driver sees it: <see cref="VirtioFeatures.RingPacked"/> for a machine with split rings only.</summary>
    public void Withhold(ulong features) => OfferedFeatures &= ~features;

    /// <summary>Both sides have agreed on this feature.</summary>
    public bool Has(ulong feature) => (Features & feature) == feature;

    /// <summary>The driver has made buffers available; called by the transport without any lock. Numbers that name no queue do nothing.</summary>
    public void Notify(int queue)
    {
        if ((uint)queue < (uint)_queues.Length && _queues[queue].Enabled)
            OnNotify(_queues[queue]);
    }

    /// <summary>Stops the device for good: afterwards it touches guest memory no more.</summary>
    public void Dispose()
    {
        Reset();
        OnDispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>
    /// Reset (virtio 1.2, 2.4): the device forgets its driver. Returns when no buffer is in flight any more.
    /// </summary>
    internal void Reset()
    {
        lock (Lock)
        {
            _resets++;
            _status = VirtioStatus.None;
            foreach (var queue in _queues)
                queue.Disable();
        }

        OnReset();
        Quiesce();
        lock (Lock)
        {
            _driverFeatures = 0;
            Features = 0;
            foreach (var queue in _queues)
                queue.Reset();
            _resets--;
        }
    }

    /// <summary>The driver writes device_status (3.1.1). Zero resets; bits cannot be taken back otherwise.</summary>
    internal void WriteStatus(VirtioStatus value)
    {
        if (value == VirtioStatus.None)
        {
            Reset();
            return;
        }

        var started = false;
        lock (Lock)
        {
            if (_resets != 0)
                return;
            const VirtioStatus driverBits = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.Failed;
            _status |= value & driverBits;
            if ((value & VirtioStatus.FeaturesOk) != 0 && (_status & VirtioStatus.FeaturesOk) == 0)
                AgreeOnFeatures();
            if ((value & VirtioStatus.DriverOk) != 0 && (_status & (VirtioStatus.FeaturesOk | VirtioStatus.DriverOk)) == VirtioStatus.FeaturesOk)
            {
                _status |= VirtioStatus.DriverOk;
                started = true;
            }
        }

        if (started)
            OnStart();
    }

    /// <summary>The driver chooses 32 feature bits; too late after FEATURES_OK.</summary>
    internal void WriteDriverFeatures(uint select, uint value)
    {
        lock (Lock)
        {
            if ((_status & VirtioStatus.FeaturesOk) != 0)
                return;
            if (select == 0)
                _driverFeatures = (_driverFeatures & ~(ulong)uint.MaxValue) | value;
            else if (select == 1)
                _driverFeatures = (uint)_driverFeatures | (ulong)value << 32;
            else if (value != 0)
                // No feature of ours is there: FEATURES_OK must fail.
                _driverFeatures |= UnofferedFeature;
        }
    }

    /// <summary>
    /// The bus lets the device access memory, or does no more (PCI bus mastering). What has been made available
    /// meanwhile is served afterwards.
    /// </summary>
    internal void SetMemoryAccess(bool allowed)
    {
        lock (Lock)
            _memoryAccess = allowed;
        if (!allowed)
            return;
        for (var i = 0; i < _queues.Length; i++)
            Notify(i);
    }

    /// <summary>1 to 8 bytes; what lies beyond the configuration reads as zero.</summary>
    internal ulong ReadConfig(int offset, int size)
    {
        ulong value = 0;
        lock (Lock)
        {
            for (var i = 0; i < size && (uint)(offset + i) < (uint)_config.Length; i++)
                value |= (ulong)_config[offset + i] << (8 * i);
        }

        return value;
    }

    /// <summary>1 to 8 bytes; 8 are written as two halves, which are inside the configuration or not each for itself.</summary>
    internal void WriteConfig(int offset, int size, ulong value)
    {
        if (size == sizeof(ulong))
        {
            WriteConfig(offset, sizeof(uint), (uint)value);
            WriteConfig(offset + sizeof(uint), sizeof(uint), value >> 32);
            return;
        }

        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)value);
        lock (Lock)
        {
            if ((uint)offset < (uint)_config.Length && size <= _config.Length - offset)
                OnConfigWrite(offset, bytes[..size]);
        }
    }

    /// <summary>queue_enable: a ring that cannot be where the driver says breaks the device.</summary>
    internal void EnableQueue(Virtqueue queue)
    {
        lock (Lock)
        {
            if ((_status & VirtioStatus.FeaturesOk) == 0)
                return;
            if (!queue.TryEnable())
                NeedReset($"queue {queue.Index} has an impossible size or address");
        }
    }

    /// <summary>queue_reset (2.6.1), if it was agreed on.</summary>
    internal void ResetQueue(Virtqueue queue)
    {
        if (Has(VirtioFeatures.RingReset))
            StopQueue(queue);
    }

    /// <summary>Takes a queue out of use; returns when none of its buffers is in flight.</summary>
    internal void StopQueue(Virtqueue queue)
    {
        lock (Lock)
            queue.Disable();
        OnQueueReset(queue);
        Wait(queue);
        lock (Lock)
            queue.Reset();
    }

    /// <summary>The driver has broken the rules: the device stops until it is reset (virtio 1.2, 2.1.2).</summary>
    protected internal void NeedReset(string why)
    {
        lock (Lock)
        {
            // While it is being reset, what is wrong with a buffer that it still holds does not matter any more.
            if (_resets != 0 || (_status & VirtioStatus.DeviceNeedsReset) != 0)
                return;
            var tell = (_status & VirtioStatus.DriverOk) != 0;
            _status |= VirtioStatus.DeviceNeedsReset;
            Broken?.Invoke(why);
            if (tell)
                Interrupts?.SignalConfiguration();
        }
    }

    /// <summary>Call after <see cref="Config"/> has changed: a new generation, and an interrupt if a driver is there.</summary>
    protected void ConfigChanged()
    {
        lock (Lock)
        {
            _configGeneration++;
            if ((_status & VirtioStatus.DriverOk) != 0)
                Interrupts?.SignalConfiguration();
        }
    }

    /// <summary>
    /// Takes and serves what is available, then interrupts if the driver wants it. At most as many buffers as the queue
    /// holds, and <see cref="ServedAtOnce"/> bytes or what one buffer has: the rest is done on another thread, so that no
    /// driver can keep a vCPU's thread here.
    /// </summary>
    protected void Drain(Virtqueue queue)
    {
        var buffers = (int)queue.Size;
        var bytes = ServedAtOnce;
        var isEnough = false;
        do
        {
            while (!isEnough && CanServe(queue) && queue.TryPop(out var chain))
            {
                bytes -= (long)chain.TotalLength;
                isEnough = --buffers <= 0 || bytes <= 0;
                Serve(queue, chain);
            }
        }
        while (queue.EnableNotifications() && !isEnough && CanServe(queue));

        queue.Signal();
        if (isEnough && queue.EnableNotifications())
            ThreadPool.UnsafeQueueUserWorkItem(static work => work.Device.Notify(work.Queue), (Device: this, Queue: queue.Index), preferLocal: false);
    }

    /// <summary>
    /// The state of device and queues. vCPUs have stopped; buffers in flight come back first, for they are in no record.
    /// </summary>
    protected VirtioDeviceState SaveCommon()
    {
        Quiesce();
        lock (Lock)
        {
            return new()
            {
                Status = (byte)_status,
                DriverFeatures = _driverFeatures,
                ConfigGeneration = _configGeneration,
                Queues = [.. _queues.Select(queue => queue.Save())],
            };
        }
    }

    /// <exception cref="InvalidDataException">The state is not one of this device, or its rings are not in this memory.</exception>
    protected void RestoreCommon(VirtioDeviceState state)
    {
        Reset();
        lock (Lock)
        {
            const VirtioStatus known = VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.DriverOk
                | VirtioStatus.FeaturesOk | VirtioStatus.DeviceNeedsReset | VirtioStatus.Failed;
            var status = (VirtioStatus)state.Status;
            var agreed = (status & VirtioStatus.FeaturesOk) != 0;
            StateFormat.Require(state.Queues?.Length == _queues.Length && (status & ~known) == 0
                && (!agreed || (state.DriverFeatures & ~OfferedFeatures) == 0), $"virtio {Type} device");
            _driverFeatures = state.DriverFeatures;
            Features = agreed ? _driverFeatures : 0;
            _configGeneration = state.ConfigGeneration;
            for (var i = 0; i < _queues.Length; i++)
                StateFormat.Require(_queues[i].TryRestore(state.Queues![i]), $"virtio {Type} device");
            _status = status;
            if (agreed)
                OnFeatures();
        }
    }

    /// <summary>The driver has notified a queue. Without any lock; possibly on several threads at once, also for one queue.</summary>
    protected virtual void OnNotify(Virtqueue queue) => Drain(queue);

    /// <summary>
    /// Whether <see cref="Drain"/> may go on: false leaves the buffers where they are until the device drains the queue again.
    /// Without any lock of this class.
    /// </summary>
    protected virtual bool CanServe(Virtqueue queue) => true;

    /// <summary>One buffer, which must be pushed now or later. Without any lock; nothing may be thrown.</summary>
    protected virtual void Serve(Virtqueue queue, VirtqueueChain chain) => queue.Push(chain, 0);

    /// <summary>Features have been agreed on; lock held.</summary>
    protected virtual void OnFeatures()
    {
    }

    /// <summary>DRIVER_OK; without the lock.</summary>
    protected virtual void OnStart()
    {
    }

    /// <summary>The driver writes to the configuration space, inside it; lock held.</summary>
    protected virtual void OnConfigWrite(int offset, ReadOnlySpan<byte> value)
    {
    }

    /// <summary>The device is being reset: chains kept for later must be pushed or unpopped now. Without the lock.</summary>
    protected virtual void OnReset()
    {
    }

    /// <summary>One queue is being reset: its chains kept for later must be pushed or unpopped now. Without the lock.</summary>
    protected virtual void OnQueueReset(Virtqueue queue) => OnReset();

    /// <summary>The machine goes; the device has been reset. Backends belong to whoever made them.</summary>
    protected virtual void OnDispose()
    {
    }

    /// <summary>Waits until no buffer is in flight. Whoever calls it keeps the guest from making more available.</summary>
    protected void Quiesce()
    {
        foreach (var queue in _queues)
            Wait(queue);
    }

    private static void Wait(Virtqueue queue)
    {
        var spin = new SpinWait();
        while (queue.Held != 0)
            spin.SpinOnce();
    }

    /// <summary>FEATURES_OK stays clear if the driver asks for what is not offered, or speaks the legacy interface.</summary>
    private void AgreeOnFeatures()
    {
        if ((_driverFeatures & ~OfferedFeatures) != 0 || (_driverFeatures & VirtioFeatures.Version1) == 0)
            return;
        Features = _driverFeatures;
        _status |= VirtioStatus.FeaturesOk;
        OnFeatures();
    }
}
