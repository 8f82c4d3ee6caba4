namespace Vivarium.Devices;

/// <summary>
/// The 8042 keyboard controller of a PC/AT with an auxiliary port (IBM PS/2 technical reference, keyboard and auxiliary
/// device controller), and what is plugged into it. What is sent to a device that is not there is answered at once as timed
/// out, so that no system waits for one. Systems reset the machine and open address line 20 through it.
/// </summary>
/// <remarks>Lock order: the controller's lock, then the devices', then those of interrupt delivery.</remarks>
public sealed class I8042 : IPortDevice
{
    public const ushort DataPort = 0x60;
    public const ushort StatusPort = 0x64;
    public const int KeyboardIrq = 1;
    public const int AuxiliaryIrq = 12;

    private const ushort DataOffset = 0;
    private const ushort StatusOffset = 4;

    // Status register.
    private const byte OutputFull = 1 << 0;
    private const byte SystemFlag = 1 << 2;
    private const byte CommandData = 1 << 3;
    private const byte NotInhibited = 1 << 4;
    private const byte AuxiliaryOutput = 1 << 5;
    private const byte Timeout = 1 << 6;

    // Command byte.
    private const byte KeyboardInterrupt = 1 << 0;
    private const byte AuxiliaryInterrupt = 1 << 1;
    private const byte KeyboardDisabled = 1 << 4;
    private const byte AuxiliaryDisabled = 1 << 5;
    private const byte Translate = 1 << 6;
    private const byte CommandByteWritable = 0x7F;

    // Commands.
    private const byte ReadCommandByte = 0x20;
    private const byte WriteCommandByte = 0x60;
    private const byte DisableAuxiliary = 0xA7;
    private const byte EnableAuxiliary = 0xA8;
    private const byte TestAuxiliary = 0xA9;
    private const byte SelfTest = 0xAA;
    private const byte TestKeyboard = 0xAB;
    private const byte DisableKeyboard = 0xAD;
    private const byte EnableKeyboard = 0xAE;
    private const byte ReadInputPort = 0xC0;
    private const byte ReadOutputPort = 0xD0;
    private const byte WriteOutputPort = 0xD1;
    private const byte WriteKeyboardOutput = 0xD2;
    private const byte WriteAuxiliaryOutput = 0xD3;
    private const byte WriteAuxiliary = 0xD4;
    private const byte CloseA20 = 0xDD;
    private const byte OpenA20 = 0xDF;
    private const byte ReadTestInputs = 0xE0;
    private const byte FirstPulse = 0xF0;
    private const byte SelfTestPassed = 0x55;
    private const byte InterfaceTestPassed = 0x00;

    /// <summary>What the controller hands over when a device does not answer.</summary>
    private const byte Resend = 0xFE;

    /// <summary>The keyboard is not locked.</summary>
    private const byte InputPortValue = 0x80;

    // Output port; pulses pull its low bits down for a moment.
    private const byte ResetInactive = 1 << 0;
    private const byte A20 = 1 << 1;
    private const byte OutputPortDefault = 0xCC | ResetInactive | A20;

    private const int OutputCapacity = 16;

    private readonly Lock _lock = new();
    private readonly InterruptLine _keyboardIrq;
    private readonly InterruptLine _auxiliaryIrq;
    private readonly A20Gate _a20;
    private readonly IPs2Device? _keyboard;
    private readonly IPs2Device? _mouse;

    /// <summary>What the system reads next: answers of the controller, or one byte of a device.</summary>
    private readonly Queue<ushort> _output = new(OutputCapacity);
    private byte _commandByte = KeyboardInterrupt | SystemFlag | Translate;
    private byte _outputPort = OutputPortDefault;
    private byte _pendingCommand;
    private bool _lastWasCommand;
    private byte _lastData;

    /// <summary>The translation has seen the prefix of a key that goes up.</summary>
    private bool _goesUp;

    /// <param name="a20">The gate that the output port sets.</param>
    /// <param name="keyboard">Null if none is plugged in.</param>
    /// <param name="mouse">Null if none is plugged in.</param>
    public I8042(InterruptLine keyboardIrq, InterruptLine auxiliaryIrq, A20Gate a20, Ps2Keyboard? keyboard = null, Ps2Mouse? mouse = null)
    {
        _keyboardIrq = keyboardIrq;
        _auxiliaryIrq = auxiliaryIrq;
        _a20 = a20;
        Keyboard = keyboard;
        Mouse = mouse;
        _keyboard = keyboard;
        _mouse = mouse;
        if (_keyboard is not null)
            _keyboard.Ready = OnReady;
        if (_mouse is not null)
            _mouse.Ready = OnReady;
    }

    public Ps2Keyboard? Keyboard { get; }

    public Ps2Mouse? Mouse { get; }

    /// <summary>The guest has pulled the reset line. Called on the vCPU's thread without any lock.</summary>
    public Action? ResetRequested { get; set; }

    public void Map(PortBus ports)
    {
        ports.Map(DataPort, 1, this, "8042 data", DataOffset);
        ports.Map(StatusPort, 1, this, "8042 command and status", StatusOffset);
    }

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            if (offset == StatusOffset)
                return Status();
            if (_output.Count != 0)
            {
                _lastData = (byte)_output.Dequeue();

                // The next byte is a new edge.
                _keyboardIrq.Lower();
                _auxiliaryIrq.Lower();
                Drive();
            }

            return _lastData;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        byte port;
        bool reset, isPort;
        lock (_lock)
        {
            // The gate is not the controller's alone.
            port = _outputPort = (byte)(_a20.IsOpen ? _outputPort | A20 : _outputPort & ~A20);
            _lastWasCommand = offset == StatusOffset;
            reset = _lastWasCommand ? WriteCommand((byte)value) : WriteData((byte)value);
            isPort = _outputPort != port;
            port = _outputPort;
            Drive();
        }

        // Others may have to be waited for.
        if (isPort)
            _a20.IsOpen = (port & A20) != 0;
        if (reset)
            ResetRequested?.Invoke();
    }

    public I8042State Save()
    {
        lock (_lock)
        {
            return new()
            {
                CommandByte = _commandByte,
                OutputPort = _outputPort,
                PendingCommand = _pendingCommand,
                LastWasCommand = _lastWasCommand,
                Output = [.. _output],
                GoesUp = _goesUp,
                Keyboard = Keyboard?.Save(),
                Mouse = Mouse?.Save(),
            };
        }
    }

    public void Restore(I8042State state)
    {
        StateFormat.Require(state.Version == I8042State.CurrentVersion && state.Output is { Length: <= OutputCapacity }
            && (state.Keyboard is null) == (Keyboard is null) && (state.Mouse is null) == (Mouse is null), "keyboard controller");
        Keyboard?.Restore(state.Keyboard!);
        Mouse?.Restore(state.Mouse!);
        lock (_lock)
        {
            _commandByte = (byte)(state.CommandByte & CommandByteWritable);
            _outputPort = state.OutputPort;
            _pendingCommand = state.PendingCommand;
            _lastWasCommand = state.LastWasCommand;
            _output.Clear();
            foreach (var value in state.Output)
                _output.Enqueue((ushort)(value & ((AuxiliaryOutput | Timeout) << 8 | 0xFF)));
            _goesUp = state.GoesUp;
            Drive();
        }

        _a20.IsOpen = (state.OutputPort & A20) != 0;
    }

    private byte Status()
    {
        var status = (byte)(NotInhibited | (_commandByte & SystemFlag) | (_lastWasCommand ? CommandData : 0));
        return _output.Count == 0 ? status : (byte)(status | OutputFull | (_output.Peek() >> 8));
    }

    private void OnReady()
    {
        lock (_lock)
            Drive();
    }

    /// <summary>Takes a byte of a device that may speak, if there is room for it, and sets the interrupts.</summary>
    private void Drive()
    {
        if (_output.Count == 0)
            Fetch();
        var full = _output.Count != 0;
        var auxiliary = full && (_output.Peek() >> 8 & AuxiliaryOutput) != 0;
        _keyboardIrq.Set(full && !auxiliary && (_commandByte & KeyboardInterrupt) != 0);
        _auxiliaryIrq.Set(auxiliary && (_commandByte & AuxiliaryInterrupt) != 0);
    }

    private void Fetch()
    {
        if (_keyboard is not null && (_commandByte & KeyboardDisabled) == 0)
        {
            while (_keyboard.TryTake(out var code))
            {
                if ((_commandByte & Translate) != 0 && !TryTranslate(ref code))
                    continue;
                _output.Enqueue(code);
                return;
            }
        }

        if (_mouse is not null && (_commandByte & AuxiliaryDisabled) == 0 && _mouse.TryTake(out var value))
            _output.Enqueue((ushort)(value | AuxiliaryOutput << 8));
    }

    /// <summary>False for a prefix, which becomes the upper bit of the next code.</summary>
    private bool TryTranslate(ref byte code)
    {
        if (code == ScanCodes.BreakPrefix)
        {
            _goesUp = true;
            return false;
        }

        code = (byte)(ScanCodes.Translate(code) | (_goesUp ? ScanCodes.BreakBit : 0));
        _goesUp = false;
        return true;
    }

    /// <summary>Queues a byte for the system; a guest that never reads loses what comes later.</summary>
    private void Answer(byte value, int status = 0)
    {
        if (_output.Count < OutputCapacity)
            _output.Enqueue((ushort)(value | status << 8));
    }

    /// <summary>Returns true if the guest resets the machine.</summary>
    private bool WriteCommand(byte command)
    {
        _pendingCommand = 0;
        switch (command)
        {
            case ReadCommandByte:
                Answer(_commandByte);
                break;
            case WriteCommandByte or WriteOutputPort or WriteKeyboardOutput or WriteAuxiliaryOutput or WriteAuxiliary:
                _pendingCommand = command;
                break;
            case DisableAuxiliary:
                _commandByte |= AuxiliaryDisabled;
                break;
            case EnableAuxiliary:
                _commandByte &= unchecked((byte)~AuxiliaryDisabled);
                break;
            case TestAuxiliary or TestKeyboard:
                Answer(InterfaceTestPassed);
                break;
            case SelfTest:
                _output.Clear();
                _commandByte = KeyboardDisabled | AuxiliaryDisabled | SystemFlag | Translate;
                Answer(SelfTestPassed);
                break;
            case DisableKeyboard:
                _commandByte |= KeyboardDisabled;
                break;
            case EnableKeyboard:
                _commandByte &= unchecked((byte)~KeyboardDisabled);
                break;
            case ReadInputPort:
                Answer(InputPortValue);
                break;
            case ReadOutputPort:
                Answer(_outputPort);
                break;
            case CloseA20:
                _outputPort &= unchecked((byte)~A20);
                break;
            case OpenA20:
                _outputPort |= A20;
                break;
            case ReadTestInputs:
                Answer(0);
                break;
            case >= FirstPulse:
                return (command & ResetInactive) == 0;
        }

        return false;
    }

    /// <summary>Returns true if the guest resets the machine.</summary>
    private bool WriteData(byte value)
    {
        var command = _pendingCommand;
        _pendingCommand = 0;
        switch (command)
        {
            case WriteCommandByte:
                _commandByte = (byte)(value & CommandByteWritable);
                break;
            case WriteOutputPort:
                _outputPort = value;
                return (value & ResetInactive) == 0;
            case WriteKeyboardOutput:
                Answer(value);
                break;
            case WriteAuxiliaryOutput:
                Answer(value, AuxiliaryOutput);
                break;
            case WriteAuxiliary:
                if (_mouse is null)
                    Answer(Resend, AuxiliaryOutput | Timeout);
                else
                    _mouse.Receive(value);
                break;
            default:
                // For the keyboard; sending to it also enables its interface.
                _commandByte &= unchecked((byte)~KeyboardDisabled);
                if (_keyboard is null)
                    Answer(Resend, Timeout);
                else
                    _keyboard.Receive(value);
                break;
        }

        return false;
    }
}
