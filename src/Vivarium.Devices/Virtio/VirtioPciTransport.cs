namespace Vivarium.Devices;

/// <summary>
/// Virtio over PCI (virtio 1.2, 4.1), the modern interface only: one memory BAR with the common configuration, the ISR
/// status, the device configuration and the notification registers, named by vendor capabilities; MSI-X in another.
/// </summary>
public sealed class VirtioPciTransport : IMmioDevice, IVirtioInterrupts
{
    private const ushort RedHat = 0x1AF4;
    private const ushort FirstModernDeviceId = 0x1040;
    private const ushort SubsystemId = 0x1100;
    private const byte ModernRevision = 1;

    // The register BAR.
    private const int RegisterBar = 0;
    private const int MsiXBar = 2;
    private const ulong RegisterBarSize = 0x4000;
    private const int CommonOffset = 0x0000;
    private const int CommonLength = 0x3C;
    private const int IsrOffset = 0x1000;
    private const int IsrLength = 1;
    private const int DeviceOffset = 0x2000;
    private const int NotifyOffset = 0x3000;
    private const int NotifyMultiplier = 4;
    private const int NotifyLength = 0x1000;

    // Vendor capabilities (4.1.4): cfg_type.
    private const byte CommonConfiguration = 1;
    private const byte NotifyConfiguration = 2;
    private const byte IsrConfiguration = 3;
    private const byte DeviceConfiguration = 4;

    /// <summary>VIRTIO_MSI_NO_VECTOR.</summary>
    private const ushort NoVector = 0xFFFF;

    // ISR status.
    private const byte IsrQueue = 1;
    private const byte IsrConfig = 2;

    /// <summary>struct virtio_pci_common_cfg (4.1.4.3).</summary>
    private enum Common
    {
        DeviceFeatureSelect = 0x00,
        DeviceFeature = 0x04,
        DriverFeatureSelect = 0x08,
        DriverFeature = 0x0C,
        ConfigMsixVector = 0x10,
        NumQueues = 0x12,
        DeviceStatus = 0x14,
        ConfigGeneration = 0x15,
        QueueSelect = 0x16,
        QueueSize = 0x18,
        QueueMsixVector = 0x1A,
        QueueEnable = 0x1C,
        QueueNotifyOff = 0x1E,
        QueueDesc = 0x20,
        QueueDriver = 0x28,
        QueueDevice = 0x30,
        QueueNotifyData = 0x38,
        QueueReset = 0x3A,
    }

    private readonly VirtioDevice _device;
    private readonly MsiX _msiX;
    private readonly ushort[] _queueVectors;
    private ushort _configVector = NoVector;
    private uint _deviceFeatureSelect;
    private uint _driverFeatureSelect;
    private ushort _queueSelect;
    private byte _isr;

    /// <param name="name">For listings, such as "virtio-blk 0".</param>
    public VirtioPciTransport(VirtioDevice device, string name)
    {
        const int maxQueues = NotifyLength / NotifyMultiplier;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(device.Queues.Length, maxQueues);
        _device = device;
        _queueVectors = new ushort[device.Queues.Length];
        Function = new PciFunction(name, new PciIdentity(
            RedHat,
            (ushort)(FirstModernDeviceId + (ushort)device.Type),
            ModernRevision,
            ClassCode(device.Type),
            RedHat,
            SubsystemId));
        Function.AddMemoryBar(RegisterBar, RegisterBarSize, this, is64Bit: true);

        // A vector for each queue and one for the configuration.
        Function.AddMsiX(Math.Min(device.Queues.Length + 1, MsiX.MaxVectors), MsiXBar);
        _msiX = Function.MsiX!;
        Function.AddCapability(new VirtioPciCapability(CommonConfiguration, RegisterBar, CommonOffset, CommonLength));
        Function.AddCapability(new VirtioPciCapability(IsrConfiguration, RegisterBar, IsrOffset, IsrLength));
        if (device.ConfigSize != 0)
            Function.AddCapability(new VirtioPciCapability(DeviceConfiguration, RegisterBar, DeviceOffset, (uint)device.ConfigSize));
        Function.AddCapability(new VirtioPciCapability(NotifyConfiguration, RegisterBar, NotifyOffset, NotifyLength, NotifyMultiplier));
        Function.AddCapability(new VirtioPciAccessCapability(this, RegisterBar, RegisterBarSize));
        Function.BusMasterChanged = device.SetMemoryAccess;
        device.SetMemoryAccess(Function.IsBusMaster);
        device.Interrupts = this;
        ResetRegisters();
    }

    /// <summary>What to plug into the bus.</summary>
    public PciFunction Function { get; }

    private Virtqueue? Selected => _queueSelect < _device.Queues.Length ? _device.Queues[_queueSelect] : null;

    public ulong ReadMmio(ulong offset, int size)
    {
        if (offset >= NotifyOffset)
            return 0;
        if (offset >= DeviceOffset)
            return _device.ReadConfig((int)offset - DeviceOffset, size);
        if (offset >= IsrOffset)
            return offset == IsrOffset ? TakeIsr() : 0u;
        lock (_device.Lock)
        {
            var low = (ulong)ReadCommon((Common)offset);
            return size == sizeof(ulong) ? low | (ulong)ReadCommon((Common)(offset + sizeof(uint))) << 32 : low;
        }
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        if (offset >= NotifyOffset)
        {
            _device.Notify((int)(offset - NotifyOffset) / NotifyMultiplier);
        }
        else if (offset >= DeviceOffset)
        {
            _device.WriteConfig((int)offset - DeviceOffset, size, value);
        }
        else if (offset < CommonLength)
        {
            WriteCommon((Common)offset, (uint)value);
            if (size == sizeof(ulong))
                WriteCommon((Common)(offset + sizeof(uint)), (uint)(value >> 32));
        }
    }

    public void SignalQueue(int queue) => Signal(_queueVectors[queue], IsrQueue);

    public void SignalConfiguration() => Signal(_configVector, IsrConfig);

    public VirtioPciTransportState Save()
    {
        lock (_device.Lock)
        {
            return new()
            {
                Function = Function.Save(),
                ConfigVector = _configVector,
                QueueVectors = [.. _queueVectors],
                DeviceFeatureSelect = _deviceFeatureSelect,
                DriverFeatureSelect = _driverFeatureSelect,
                QueueSelect = _queueSelect,
                Isr = _isr,
            };
        }
    }

    /// <summary>Restore the device first.</summary>
    public void Restore(VirtioPciTransportState state)
    {
        StateFormat.Require(state.Version == VirtioPciTransportState.CurrentVersion && state.Function is not null
            && state.QueueVectors?.Length == _queueVectors.Length, Function.Name);
        lock (_device.Lock)
        {
            _configVector = Existing(state.ConfigVector);
            for (var i = 0; i < _queueVectors.Length; i++)
                _queueVectors[i] = Existing(state.QueueVectors![i]);
            _deviceFeatureSelect = state.DeviceFeatureSelect;
            _driverFeatureSelect = state.DriverFeatureSelect;
            _queueSelect = state.QueueSelect;
            _isr = state.Isr;
        }

        Function.Restore(state.Function!);
    }

    private static uint ClassCode(VirtioDeviceType type) => type switch
    {
        VirtioDeviceType.Network => 0x02_0000,
        VirtioDeviceType.Block => 0x01_0000,
        VirtioDeviceType.Console => 0x07_8000,
        _ => 0xFF_0000,
    };

    private void Signal(ushort vector, byte isr)
    {
        if (_msiX.Enabled)
        {
            if (vector != NoVector)
                _msiX.Signal(vector);
            return;
        }

        lock (_device.Lock)
        {
            _isr |= isr;
            Function.SetInterrupt(true);
        }
    }

    /// <summary>Reading acknowledges (4.1.4.5).</summary>
    private byte TakeIsr()
    {
        lock (_device.Lock)
        {
            var isr = _isr;
            _isr = 0;
            Function.SetInterrupt(false);
            return isr;
        }
    }

    private uint ReadCommon(Common register)
    {
        var queue = Selected;
        return register switch
        {
            Common.DeviceFeatureSelect => _deviceFeatureSelect,
            Common.DeviceFeature => VirtioFeatures.Half(_device.OfferedFeatures, _deviceFeatureSelect),
            Common.DriverFeatureSelect => _driverFeatureSelect,
            Common.DriverFeature => VirtioFeatures.Half(_device.DriverFeatures, _driverFeatureSelect),
            Common.ConfigMsixVector => _configVector,
            Common.NumQueues => (uint)_device.Queues.Length,
            Common.DeviceStatus => (uint)_device.Status,
            Common.ConfigGeneration => _device.ConfigGeneration,
            Common.QueueSelect => _queueSelect,
            _ when queue is null => 0,
            Common.QueueSize => queue.Size,
            Common.QueueMsixVector => _queueVectors[queue.Index],
            Common.QueueEnable => queue.Enabled ? 1u : 0u,
            Common.QueueNotifyOff or Common.QueueNotifyData => (uint)queue.Index,
            _ => Address(register, out var area, out var high) ? queue.ReadAddress(area, high) : 0,
        };
    }

    private void WriteCommon(Common register, uint value)
    {
        // These wait for buffers in flight and so must not hold the lock.
        if (register == Common.DeviceStatus)
        {
            WriteStatus((VirtioStatus)value);
            return;
        }

        if (register == Common.QueueReset && value == 1 && Selected is { } reset)
        {
            _device.ResetQueue(reset);
            return;
        }

        lock (_device.Lock)
        {
            switch (register)
            {
                case Common.DeviceFeatureSelect:
                    _deviceFeatureSelect = value;
                    return;
                case Common.DriverFeatureSelect:
                    _driverFeatureSelect = value;
                    return;
                case Common.DriverFeature:
                    _device.WriteDriverFeatures(_driverFeatureSelect, value);
                    return;
                case Common.ConfigMsixVector:
                    _configVector = Existing((ushort)value);
                    return;
                case Common.QueueSelect:
                    _queueSelect = (ushort)value;
                    return;
            }

            if (Selected is not { } queue)
                return;
            switch (register)
            {
                case Common.QueueSize:
                    queue.TrySetSize((ushort)value);
                    break;
                case Common.QueueMsixVector:
                    _queueVectors[queue.Index] = Existing((ushort)value);
                    break;
                case Common.QueueEnable when value == 1:
                    _device.EnableQueue(queue);
                    break;
                default:
                    if (Address(register, out var area, out var high))
                        queue.WriteAddress(area, high, value);
                    break;
            }
        }
    }

    /// <summary>Which half of which ring address a register is.</summary>
    private static bool Address(Common register, out VirtqueueArea area, out bool high)
    {
        const int half = sizeof(uint), whole = sizeof(ulong);
        var offset = register - Common.QueueDesc;
        area = (VirtqueueArea)(offset / whole);
        high = offset % whole == half;
        return offset is >= 0 and < 3 * whole && offset % half == 0;
    }

    private void WriteStatus(VirtioStatus status)
    {
        _device.WriteStatus(status);
        if (status == VirtioStatus.None)
            ResetRegisters();
    }

    private void ResetRegisters()
    {
        lock (_device.Lock)
        {
            _configVector = NoVector;
            Array.Fill(_queueVectors, NoVector);
            _deviceFeatureSelect = 0;
            _driverFeatureSelect = 0;
            _queueSelect = 0;
            _isr = 0;
            Function.SetInterrupt(false);
        }
    }

    /// <summary>A vector that is not there reads back as none (4.1.5.1.2.1).</summary>
    private ushort Existing(ushort vector) => vector < _msiX.Vectors ? vector : NoVector;
}
