using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// One IDE channel: the command block (8 ports) and the control block (1 port, at offset 8), up to two devices, the
/// interrupt, and the bus master that moves their data. Device 0 answers for a device 1 that is not there (ATA8-APT,
/// "Device 0 only configurations"); a channel without devices floats.
/// </summary>
public sealed class AtaChannel : IPortDevice
{
    public const int CommandPorts = 8;
    public const int ControlPorts = 1;

    /// <summary>Where the control block begins among the channel's offsets.</summary>
    public const int ControlOffset = CommandPorts;

    private const int Devices = 2;

    /// <summary>What a channel without devices reads as: the host pulls DD7 down, so that nobody takes it for busy (ATA/ATAPI-7, 3.1.1).</summary>
    private const byte Floating = 0x7F;

    // Device Control (ATA8-ACS, 6.4).
    private const byte InterruptDisable = 1 << 1;
    private const byte SoftwareReset = 1 << 2;
    private const byte HighOrderByte = 1 << 7;

    private readonly Lock _lock = new();
    private readonly AtaDevice?[] _devices = new AtaDevice?[Devices];
    private readonly BusMaster _master;
    private readonly PciFunction _function;
    private readonly InterruptLine _line;
    private int _selected;
    private byte _control;
    private bool _intrq;

    /// <summary>The device whose DMA the host carries out now, and when that began.</summary>
    private AtaDevice? _transferring;
    private int _generation;

    internal AtaChannel(GuestMemory memory, PciFunction function, InterruptLine line, AtaDevice? device0, AtaDevice? device1)
    {
        _master = new BusMaster(memory);
        _function = function;
        _line = line;
        _devices[0] = device0;
        _devices[1] = device1;
        for (var i = 0; i < Devices; i++)
        {
            if (_devices[i] is not { } device)
                continue;
            device.Gate = _lock;
            _master.SetCapable(i);
        }
    }

    private bool IsEmpty => _devices[0] is null && _devices[1] is null;

    public uint ReadPort(ushort offset, int size)
    {
        uint value;
        lock (_lock)
            value = Read(offset, size);
        DoWork();
        return value;
    }

    /// <summary>As many elements at once as come before a device has work to do.</summary>
    public void ReadPorts(ushort offset, int size, Span<byte> elements)
    {
        while (!elements.IsEmpty)
        {
            lock (_lock)
            {
                var device = _devices[_selected];
                do
                    elements = IPortDevice.Put(elements, Read(offset, size), size);
                while (!elements.IsEmpty && device is not { HasWork: true });
            }

            DoWork();
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            if (offset == AtaRegisters.Data)
            {
                _devices[_selected]?.WriteData(size, value);
            }
            else
            {
                for (var i = 0; i < size; i++)
                    WriteRegister(offset + i, (byte)(value >> (8 * i)));
            }

            Proceed();
        }

        DoWork();
    }

    /// <summary>Reads the channel's bus master.</summary>
    internal uint ReadMaster(int register, int size)
    {
        lock (_lock)
        {
            uint value = 0;
            for (var i = 0; i < size; i++)
                value |= (uint)_master.Read(register + i) << (8 * i);
            return value;
        }
    }

    internal void WriteMaster(int register, int size, uint value)
    {
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                _master.Write(register + i, (byte)(value >> (8 * i)));
            Proceed();
        }

        DoWork();
    }

    /// <summary>The function has become a bus master: what waited for that goes on.</summary>
    internal void BusMasterEnabled()
    {
        lock (_lock)
            Proceed();
        DoWork();
    }

    /// <summary>Waits until the host has nothing to do for the devices. Whoever calls it keeps the guest from asking for more.</summary>
    internal void Quiesce()
    {
        var spin = new SpinWait();
        while (IsWorking())
            spin.SpinOnce();
    }

    internal AtaChannelState Save()
    {
        Quiesce();
        lock (_lock)
        {
            return new()
            {
                Selected = _selected,
                Control = _control,
                Intrq = _intrq,
                Master = _master.Save(),
                Device0 = _devices[0]?.Save(),
                Device1 = _devices[1]?.Save(),
            };
        }
    }

    internal void Restore(AtaChannelState? state)
    {
        StateFormat.Require(state is { Selected: 0 or 1, Master: not null }
            && (state.Device0 is null) == (_devices[0] is null) && (state.Device1 is null) == (_devices[1] is null), "IDE channel");
        lock (_lock)
        {
            _devices[0]?.Restore(state!.Device0!);
            _devices[1]?.Restore(state!.Device1!);
            _master.Restore(state!.Master!);
            _selected = state.Selected;
            _control = state.Control;
            _intrq = state.Intrq;
            _line.Set(_intrq);
        }
    }

    private bool IsWorking()
    {
        lock (_lock)
            return _devices[0] is { HasWork: true } or { IsWorking: true } || _devices[1] is { HasWork: true } or { IsWorking: true };
    }

    private uint Read(ushort offset, int size)
    {
        uint value = 0;
        if (offset == AtaRegisters.Data)
        {
            value = _devices[_selected]?.ReadData(size) ?? uint.MaxValue;
        }
        else
        {
            for (var i = 0; i < size; i++)
                value |= (uint)ReadRegister(offset + i) << (8 * i);
        }

        DriveInterrupt();
        return value;
    }

    private byte ReadRegister(int register)
    {
        if (IsEmpty)
            return Floating;
        var device = _devices[_selected];
        switch (register)
        {
            case AtaRegisters.StatusOrCommand:
                if (device is null)
                    return 0;
                device.Interrupt = false;
                return (byte)device.Status;
            case ControlOffset:
                return device is null ? (byte)0 : (byte)device.Status;
            default:
                return (device ?? _devices[0])?.ReadRegister(register, (_control & HighOrderByte) != 0) ?? Floating;
        }
    }

    private void WriteRegister(int register, byte value)
    {
        if (register == ControlOffset)
        {
            WriteControl(value);
            return;
        }

        _control &= unchecked((byte)~HighOrderByte);
        if (register == AtaRegisters.StatusOrCommand)
        {
            if (value == (byte)AtaCommand.ExecuteDeviceDiagnostic)
                Diagnose();
            else if (value == (byte)AtaCommand.DeviceReset && _devices[_selected] is { TakesDeviceReset: true } packetDevice)
                Reset(packetDevice);
            else if (_devices[_selected] is { IsBusy: false } device)
                Start(device, value);
            return;
        }

        if (register == AtaRegisters.Device)
            _selected = (value & AtaRegisters.DeviceSelect) != 0 ? 1 : 0;
        foreach (var device in _devices)
            device?.WriteRegister(register, value);
    }

    /// <summary>A command takes INTRQ back before it asserts it again: the controllers wait for an edge.</summary>
    private void Start(AtaDevice device, byte command)
    {
        device.Interrupt = false;
        DriveInterrupt();
        device.WriteCommand(command);
    }

    private void WriteControl(byte value)
    {
        var changed = (byte)(_control ^ value);
        _control = value;
        if ((changed & SoftwareReset) == 0)
            return;
        _selected = 0;
        foreach (var device in _devices)
        {
            if ((value & SoftwareReset) != 0)
                device?.BeginReset();
            else
                device?.EndReset();
        }
    }

    /// <summary>DEVICE RESET: of one device, also if it is busy.</summary>
    private static void Reset(AtaDevice device)
    {
        device.BeginReset();
        device.EndReset();
    }

    /// <summary>EXECUTE DEVICE DIAGNOSTIC: both devices, whichever is selected; device 0 tells the end.</summary>
    private void Diagnose()
    {
        foreach (var device in _devices)
        {
            if (device is { IsBusy: true })
                return;
        }

        _selected = 0;
        foreach (var device in _devices)
            device?.Diagnose();
        DriveInterrupt();
        if (_devices[0] is { } first)
            first.Interrupt = true;
    }

    /// <summary>Something has changed: DMA may begin, the interrupt may rise or fall.</summary>
    private void Proceed()
    {
        StartTransfer();
        DriveInterrupt();
    }

    private void StartTransfer()
    {
        if (!_master.IsActive || _transferring is not null || !_function.IsBusMaster)
            return;
        var device = _devices[_selected];
        if (device is null || device.IsBusy || device.Dma == DmaDirection.None || device.Dma != _master.Direction)
            return;
        if (!_master.Gather(device.DmaLeft))
            return;
        _master.RoundDown(device.DmaUnit);
        _generation = _master.Generation;
        if (_master.Gathered == 0)
        {
            _master.Finish(_generation);
            return;
        }

        _transferring = device;
        device.StartDma(_master.Segments, _master.Gathered);
    }

    private void DriveInterrupt()
    {
        var level = _devices[_selected] is { Interrupt: true } && (_control & InterruptDisable) == 0;
        if (level == _intrq)
            return;
        _intrq = level;
        if (level)
            _master.NoteInterrupt();
        _line.Set(level);
    }

    /// <summary>Has the host do what the devices need: on this thread, or on another if it has to wait.</summary>
    private void DoWork()
    {
        while (TakeWork() is { } device)
        {
            if (device.WorkWaits)
                ThreadPool.UnsafeQueueUserWorkItem(static work => work.Channel.DoWorkHere(work.Device), (Channel: this, Device: device), preferLocal: false);
            else
                DoWork(device);
        }
    }

    private void DoWorkHere(AtaDevice device)
    {
        DoWork(device);
        DoWork();
    }

    private void DoWork(AtaDevice device)
    {
        device.Work();
        lock (_lock)
        {
            // The bus master is idle before the guest learns of the end.
            if (_transferring == device)
            {
                _transferring = null;
                _master.Finish(_generation);
            }

            device.WorkDone();
            Proceed();
        }
    }

    /// <summary>A device whose work nobody does yet. Most accesses leave none, and find that out without the lock.</summary>
    private AtaDevice? TakeWork()
    {
        foreach (var device in _devices)
        {
            if (device is not { HasWork: true })
                continue;
            lock (_lock)
            {
                if (!device.HasWork)
                    continue;
                device.TakeWork();
                return device;
            }
        }

        return null;
    }
}
