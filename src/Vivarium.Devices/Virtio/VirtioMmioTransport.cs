namespace Vivarium.Devices;

/// <summary>
/// Virtio over MMIO, version 2 (virtio 1.2, 4.2): one page of registers and one level-triggered interrupt line. The guest
/// is told where it is by the command line or the ACPI tables.
/// </summary>
public sealed class VirtioMmioTransport : IMmioDevice, IVirtioInterrupts
{
    /// <summary>The registers with the device configuration, in bytes.</summary>
    public const ulong Size = 0x200;

    private const uint Magic = 0x7472_6976;
    private const uint Version = 2;
    private const uint Vendor = 0x5649_5641;

    // Interrupt status.
    private const uint UsedBuffer = 1;
    private const uint ConfigurationChange = 2;

    /// <summary>There is no shared memory region: all lengths and addresses read so.</summary>
    private const uint NoSharedMemory = uint.MaxValue;

    /// <summary>MMIO device registers (4.2.2).</summary>
    private enum Register
    {
        MagicValue = 0x000,
        Version = 0x004,
        DeviceId = 0x008,
        VendorId = 0x00C,
        DeviceFeatures = 0x010,
        DeviceFeaturesSel = 0x014,
        DriverFeatures = 0x020,
        DriverFeaturesSel = 0x024,
        QueueSel = 0x030,
        QueueSizeMax = 0x034,
        QueueSize = 0x038,
        QueueReady = 0x044,
        QueueNotify = 0x050,
        InterruptStatus = 0x060,
        InterruptAck = 0x064,
        Status = 0x070,
        QueueDescLow = 0x080,
        QueueDescHigh = 0x084,
        QueueDriverLow = 0x090,
        QueueDriverHigh = 0x094,
        QueueDeviceLow = 0x0A0,
        QueueDeviceHigh = 0x0A4,
        ShmLenLow = 0x0B0,
        ShmLenHigh = 0x0B4,
        ShmBaseLow = 0x0B8,
        ShmBaseHigh = 0x0BC,
        QueueReset = 0x0C0,
        ConfigGeneration = 0x0FC,
        Config = 0x100,
    }

    private readonly VirtioDevice _device;
    private readonly InterruptLine _line;
    private uint _deviceFeaturesSelect;
    private uint _driverFeaturesSelect;
    private uint _queueSelect;
    private uint _interruptStatus;

    public VirtioMmioTransport(VirtioDevice device, InterruptLine line)
    {
        _device = device;
        _line = line;
        device.Interrupts = this;
    }

    private Virtqueue? Selected => _queueSelect < (uint)_device.Queues.Length ? _device.Queues[(int)_queueSelect] : null;

    /// <param name="name">For listings, such as "virtio-blk 0".</param>
    public void Map(MmioBus mmio, ulong address, string name) => mmio.Map(address, Size, this, name);

    public ulong ReadMmio(ulong offset, int size)
    {
        if (offset >= (ulong)Register.Config)
            return _device.ReadConfig((int)offset - (int)Register.Config, size);

        // Registers are 32 bits wide and read so.
        if (size != sizeof(uint))
            return 0;
        lock (_device.Lock)
            return Read((Register)offset);
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (offset >= (ulong)Register.Config)
        {
            _device.WriteConfig((int)offset - (int)Register.Config, size, value);
        }
        else if (size == sizeof(uint))
        {
            Write((Register)offset, (uint)value);
        }
    }

    public void SignalQueue(int queue) => Signal(UsedBuffer);

    public void SignalConfiguration() => Signal(ConfigurationChange);

    public VirtioMmioTransportState Save()
    {
        lock (_device.Lock)
        {
            return new()
            {
                DeviceFeaturesSelect = _deviceFeaturesSelect,
                DriverFeaturesSelect = _driverFeaturesSelect,
                QueueSelect = _queueSelect,
                InterruptStatus = _interruptStatus,
            };
        }
    }

    /// <summary>Restore the device first.</summary>
    public void Restore(VirtioMmioTransportState state)
    {
        StateFormat.Require(state.Version == VirtioMmioTransportState.CurrentVersion, "virtio MMIO transport");
        lock (_device.Lock)
        {
            _deviceFeaturesSelect = state.DeviceFeaturesSelect;
            _driverFeaturesSelect = state.DriverFeaturesSelect;
            _queueSelect = state.QueueSelect;
            _interruptStatus = state.InterruptStatus & (UsedBuffer | ConfigurationChange);
            _line.Set(_interruptStatus != 0);
        }
    }

    private uint Read(Register register)
    {
        var queue = Selected;
        return register switch
        {
            Register.MagicValue => Magic,
            Register.Version => Version,
            Register.DeviceId => (uint)_device.Type,
            Register.VendorId => Vendor,
            Register.DeviceFeatures => VirtioFeatures.Half(_device.OfferedFeatures, _deviceFeaturesSelect),
            Register.InterruptStatus => _interruptStatus,
            Register.Status => (uint)_device.Status,
            Register.ShmLenLow or Register.ShmLenHigh or Register.ShmBaseLow or Register.ShmBaseHigh => NoSharedMemory,
            Register.ConfigGeneration => _device.ConfigGeneration,
            _ when queue is null => 0,
            Register.QueueSizeMax => queue.MaxSize,
            Register.QueueReady => queue.Enabled ? 1u : 0u,
            _ => 0,
        };
    }

    private void Write(Register register, uint value)
    {
        // These serve buffers or wait for them and so must not hold the lock.
        switch (register)
        {
            case Register.QueueNotify:
                _device.Notify((int)Math.Min(value, int.MaxValue));
                return;
            case Register.Status:
                WriteStatus((VirtioStatus)value);
                return;
            case Register.QueueReady when value == 0:
                if (Selected is { Enabled: true } stopped)
                    _device.StopQueue(stopped);
                return;
            case Register.QueueReset when value == 1:
                if (Selected is { } reset)
                    _device.ResetQueue(reset);
                return;
        }

        lock (_device.Lock)
        {
            switch (register)
            {
                case Register.DeviceFeaturesSel:
                    _deviceFeaturesSelect = value;
                    return;
                case Register.DriverFeaturesSel:
                    _driverFeaturesSelect = value;
                    return;
                case Register.DriverFeatures:
                    _device.WriteDriverFeatures(_driverFeaturesSelect, value);
                    return;
                case Register.QueueSel:
                    _queueSelect = value;
                    return;
                case Register.InterruptAck:
                    _interruptStatus &= ~value;
                    _line.Set(_interruptStatus != 0);
                    return;
            }

            if (Selected is not { } queue)
                return;
            switch (register)
            {
                case Register.QueueSize:
                    queue.TrySetSize((ushort)Math.Min(value, ushort.MaxValue));
                    break;
                case Register.QueueReady when value == 1:
                    _device.EnableQueue(queue);
                    break;
                case Register.QueueDescLow or Register.QueueDescHigh:
                    queue.WriteAddress(VirtqueueArea.Descriptor, register == Register.QueueDescHigh, value);
                    break;
                case Register.QueueDriverLow or Register.QueueDriverHigh:
                    queue.WriteAddress(VirtqueueArea.Driver, register == Register.QueueDriverHigh, value);
                    break;
                case Register.QueueDeviceLow or Register.QueueDeviceHigh:
                    queue.WriteAddress(VirtqueueArea.Device, register == Register.QueueDeviceHigh, value);
                    break;
            }
        }
    }

    private void Signal(uint cause)
    {
        lock (_device.Lock)
        {
            _interruptStatus |= cause;
            _line.Raise();
        }
    }

    private void WriteStatus(VirtioStatus status)
    {
        _device.WriteStatus(status);
        if (status != VirtioStatus.None)
            return;
        lock (_device.Lock)
        {
            _deviceFeaturesSelect = 0;
            _driverFeaturesSelect = 0;
            _queueSelect = 0;
            _interruptStatus = 0;
            _line.Lower();
        }
    }
}
