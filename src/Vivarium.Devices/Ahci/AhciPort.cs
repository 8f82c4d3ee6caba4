using System.Numerics;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// One port of an AHCI controller (AHCI 1.3, 3.3 and 5) with the device at its other end: registers, the list of 32 commands,
/// resets. How a command is carried out stands in the other half. Commands are executed one after the other, queued ones too.
/// </summary>
internal sealed partial class AhciPort
{
    // Registers.
    private const int CommandListBase = 0x00;
    private const int CommandListBaseUpper = 0x04;
    private const int FisBase = 0x08;
    private const int FisBaseUpper = 0x0C;
    private const int InterruptStatus = 0x10;
    private const int InterruptEnable = 0x14;
    private const int CommandAndStatus = 0x18;
    private const int TaskFileData = 0x20;
    private const int SignatureRegister = 0x24;
    private const int SerialStatus = 0x28;
    private const int SerialControl = 0x2C;
    private const int SerialError = 0x30;
    private const int SerialActive = 0x34;
    private const int CommandIssue = 0x38;

    // PxIS.
    private const uint RegisterFisReceived = 1 << 0;
    private const uint PioSetupReceived = 1 << 1;
    private const uint SetDeviceBitsReceived = 1 << 3;
    private const uint PortConnectChange = 1 << 6;
    private const uint Overflow = 1 << 24;
    private const uint InterfaceFatal = 1 << 27;
    private const uint HostBusFatal = 1 << 29;
    private const uint TaskFileError = 1 << 30;
    private const uint InterruptBits = 0xFDC0_00AF;

    // PxCMD.
    private const uint Start = 1 << 0;
    private const uint SpinUp = 1 << 1;
    private const uint PowerOn = 1 << 2;
    private const uint ListOverride = 1 << 3;
    private const uint FisReceive = 1 << 4;
    private const uint FisRunning = 1 << 14;
    private const uint ListRunning = 1 << 15;
    private const uint IsAtapi = 1 << 24;
    private const uint CommandWritable = Start | FisReceive | IsAtapi;
    private const int CurrentSlotShift = 8;

    // PxSCTL and PxSSTS: detection, speed, power management.
    private const uint DetectionMask = 0xF;
    private const uint DetectionReset = 1;
    private const uint DetectionOff = 4;
    private const uint SerialControlWritable = 0xFFF;
    private const uint LinkUp = 0x123;

    // PxSERR: the device has been exchanged, or was reset.
    private const uint Exchanged = 1 << 26;

    private const uint NoSignature = 0xFFFF_FFFF;
    private const byte NobodyThere = 0x7F;

    public const int Slots = 32;

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly AhciController _controller;
    private readonly int _index;
    private readonly AtaDevice? _device;
    private readonly AhciRegions _regions;

    private ulong _commandList;
    private ulong _fisBase;
    private uint _interrupts;
    private uint _interruptEnable;
    private uint _command;
    private uint _serialControl;
    private uint _serialError;
    private uint _serialActive;
    private uint _issued;

    /// <summary>What the device has told last: Status and Error, as PxTFD has them.</summary>
    private byte _status;
    private byte _error;
    private uint _signature;

    /// <summary>The slot of the command under way, or the last one.</summary>
    private int _slot;
    private bool _isActive;

    /// <summary>An error has stopped the list until software restarts it.</summary>
    private bool _isStopped;

    /// <summary>A reset of the device is under way, and this is the slot of the soft reset; -1 for one by the link.</summary>
    private bool _awaitsSignature;
    private int _resetSlot;

    public AhciPort(GuestMemory memory, AhciController controller, int index, AtaDevice? device)
    {
        _memory = memory;
        _controller = controller;
        _index = index;
        _device = device;
        _regions = new AhciRegions(memory);
        if (device is not null)
            device.Gate = _lock;
        SetPowerUp();
    }

    public uint Read(int register)
    {
        lock (_lock)
        {
            return register switch
            {
                CommandListBase => (uint)_commandList,
                CommandListBaseUpper => (uint)(_commandList >> 32),
                FisBase => (uint)_fisBase,
                FisBaseUpper => (uint)(_fisBase >> 32),
                InterruptStatus => _interrupts,
                InterruptEnable => _interruptEnable,
                CommandAndStatus => ReadCommand(),
                TaskFileData => (uint)(_error << 8 | _status),
                SignatureRegister => _signature,
                SerialStatus => ReadSerialStatus(),
                SerialControl => _serialControl,
                SerialError => _serialError,
                SerialActive => _serialActive,
                CommandIssue => _issued,
                _ => 0,
            };
        }
    }

    public void Write(int register, uint value)
    {
        const ulong upper = 0xFFFF_FFFF_0000_0000;
        lock (_lock)
        {
            switch (register)
            {
                case CommandListBase:
                    _commandList = _commandList & upper | value & ~0x3FFu;
                    break;
                case CommandListBaseUpper:
                    _commandList = (uint)_commandList | (ulong)value << 32;
                    break;
                case FisBase:
                    _fisBase = _fisBase & upper | value & ~0xFFu;
                    break;
                case FisBaseUpper:
                    _fisBase = (uint)_fisBase | (ulong)value << 32;
                    break;
                case InterruptStatus:
                    _interrupts &= ~value;
                    UpdateInterrupt(isNew: false);
                    break;
                case InterruptEnable:
                    _interruptEnable = value & InterruptBits;
                    UpdateInterrupt(isNew: true);
                    break;
                case CommandAndStatus:
                    WriteCommand(value);
                    break;
                case SerialControl:
                    WriteSerialControl(value & SerialControlWritable);
                    break;
                case SerialError:
                    _serialError &= ~value;
                    if ((_serialError & Exchanged) == 0)
                        _interrupts &= ~PortConnectChange;
                    UpdateInterrupt(isNew: false);
                    break;
                case SerialActive when (_command & Start) != 0:
                    _serialActive |= value;
                    break;
                case CommandIssue when (_command & Start) != 0:
                    _issued |= value;
                    break;
            }

            Proceed();
        }

        DoWork();
    }

    /// <summary>The controller is reset (GHC.HR).</summary>
    public void Reset()
    {
        lock (_lock)
        {
            _commandList = 0;
            _fisBase = 0;
            _interrupts = 0;
            _interruptEnable = 0;
            _command = 0;
            _serialControl = 0;
            _serialError = 0;
            StopList();
            _device?.BeginReset();
            _device?.EndReset();
            SetPowerUp();
            _resetSlot = -1;
            _awaitsSignature = _device is { IsInReset: true };
            UpdateInterrupt(isNew: false);
        }

        DoWork();
    }

    public void BusMasterEnabled()
    {
        lock (_lock)
            Proceed();
        DoWork();
    }

    /// <summary>Waits until the host has nothing to do for the device. Whoever calls it keeps the guest from asking for more.</summary>
    public void Quiesce()
    {
        var spin = new SpinWait();
        while (IsWorking())
            spin.SpinOnce();
    }

    public AhciPortState Save()
    {
        Quiesce();
        lock (_lock)
        {
            return new()
            {
                CommandList = _commandList,
                FisBase = _fisBase,
                Interrupts = _interrupts,
                InterruptEnable = _interruptEnable,
                Command = _command,
                SerialControl = _serialControl,
                SerialError = _serialError,
                SerialActive = _serialActive,
                Issued = _issued,
                Status = _status,
                Error = _error,
                Signature = _signature,
                Slot = _slot,
                IsStopped = _isStopped,
                AwaitsSignature = _awaitsSignature,
                ResetSlot = _resetSlot,
                Device = _device?.Save(),
            };
        }
    }

    public void Restore(AhciPortState state)
    {
        StateFormat.Require((state.Device is null) == (_device is null) && state.Slot is >= 0 and < Slots && state.ResetSlot is >= -1 and < Slots, "AHCI port");
        lock (_lock)
        {
            _device?.Restore(state.Device!);
            _commandList = state.CommandList & ~0x3FFul;
            _fisBase = state.FisBase & ~0xFFul;
            _interrupts = state.Interrupts & InterruptBits;
            _interruptEnable = state.InterruptEnable & InterruptBits;
            _command = state.Command & CommandWritable;
            _serialControl = state.SerialControl & SerialControlWritable;
            _serialError = state.SerialError;
            _serialActive = state.SerialActive;
            _issued = state.Issued;
            _status = state.Status;
            _error = state.Error;
            _signature = state.Signature;
            _slot = state.Slot;
            _isActive = false;
            _isStopped = state.IsStopped;
            _awaitsSignature = state.AwaitsSignature;
            _resetSlot = state.ResetSlot;
            UpdateInterrupt(isNew: false);
        }
    }

    private bool IsWorking()
    {
        lock (_lock)
            return _device is { HasWork: true } or { IsWorking: true };
    }

    private uint ReadCommand()
    {
        var value = _command | SpinUp | PowerOn | (uint)_slot << CurrentSlotShift;
        if ((_command & FisReceive) != 0)
            value |= FisRunning;
        if ((_command & Start) != 0)
            value |= ListRunning;
        return value;
    }

    private uint ReadSerialStatus() => (_serialControl & DetectionMask) switch
    {
        _ when _device is null => 0,
        DetectionReset => 0,
        DetectionOff => DetectionOff,
        _ => LinkUp,
    };

    private void WriteCommand(uint value)
    {
        var was = _command;
        _command = value & CommandWritable;
        if ((value & ListOverride) != 0)
            _status &= unchecked((byte)~(AtaStatus.Busy | AtaStatus.DataRequest));
        if ((was & Start) != 0 && (value & Start) == 0)
            StopList();
        else if ((was & Start) == 0)
            _slot = 0;
        if ((was & FisReceive) == 0 && (value & FisReceive) != 0 && _device is { IsInReset: false } && !_awaitsSignature && !_isActive)
            PostRegisters(interrupt: false);
    }

    /// <summary>Software stops the list: what was issued is forgotten. A command under way ends unheard.</summary>
    private void StopList()
    {
        _issued = 0;
        _serialActive = 0;
        _isActive = false;
        _isStopped = false;
    }

    private void WriteSerialControl(uint value)
    {
        var was = _serialControl & DetectionMask;
        _serialControl = value;
        var now = value & DetectionMask;
        if (was == now || _device is null)
            return;
        if (now == DetectionReset)
        {
            // COMRESET.
            _isActive = false;
            _awaitsSignature = false;
            _device.BeginReset();
            _status = (byte)AtaStatus.Busy;
            _signature = NoSignature;
        }
        else if (was == DetectionReset)
        {
            _resetSlot = -1;
            _awaitsSignature = true;
            _serialError |= Exchanged;
            Raise(PortConnectChange);
            _device.EndReset();
        }
    }

    private void SetPowerUp()
    {
        _slot = 0;
        _awaitsSignature = false;
        _error = 1;
        _status = _device is null ? NobodyThere : (byte)_device.Status;
        _signature = _device is null ? NoSignature : ReadSignature(_device);
    }

    private static uint ReadSignature(AtaDevice device) =>
        device.Peek(AtaRegisters.Count, false) | (uint)device.Peek(AtaRegisters.LbaLow, false) << 8
        | (uint)device.Peek(AtaRegisters.LbaMid, false) << 16 | (uint)device.Peek(AtaRegisters.LbaHigh, false) << 24;

    private void Raise(uint interrupt)
    {
        _interrupts |= interrupt;
        UpdateInterrupt(isNew: true);
    }

    private void UpdateInterrupt(bool isNew) => _controller.PortChanged(_index, (_interrupts & _interruptEnable) != 0, isNew);

    /// <summary>The next slot with a command, after the last one.</summary>
    private int NextSlot() => (BitOperations.TrailingZeroCount(BitOperations.RotateRight(_issued, _slot + 1)) + _slot + 1) % Slots;
}
