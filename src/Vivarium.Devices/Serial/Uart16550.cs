namespace Vivarium.Devices;

/// <summary>
/// A 16550A serial port (National Semiconductor PC16550D data sheet). Output leaves at once, whatever the baud rate;
/// input waits on the host's side until the guest can take it, so that nothing typed ahead or pasted is lost.
/// </summary>
public sealed class Uart16550 : IPortDevice
{
    public const ushort Com1 = 0x3F8;
    public const ushort Com2 = 0x2F8;
    public const ushort Com3 = 0x3E8;
    public const ushort Com4 = 0x2E8;
    public const int Com1Irq = 4;
    public const int Com2Irq = 3;
    public const int Com3Irq = 4;
    public const int Com4Irq = 3;

    private const int Ports = 8;

    // Registers; with the divisor latch access bit the first two are the divisor.
    private const int DataRegister = 0;
    private const int InterruptEnableRegister = 1;
    private const int InterruptIdentificationRegister = 2;
    private const int LineControlRegister = 3;
    private const int ModemControlRegister = 4;
    private const int LineStatusRegister = 5;
    private const int ModemStatusRegister = 6;
    private const int ScratchRegister = 7;

    // Interrupt enable.
    private const byte EnableReceived = 1 << 0;
    private const byte EnableTransmitter = 1 << 1;
    private const byte EnableLineStatus = 1 << 2;
    private const byte EnableModemStatus = 1 << 3;
    private const byte InterruptEnableMask = 0x0F;

    // Interrupt identification, in the order of priority.
    private const byte IdLineStatus = 0x06;
    private const byte IdReceived = 0x04;
    private const byte IdTimeout = 0x0C;
    private const byte IdTransmitter = 0x02;
    private const byte IdModemStatus = 0x00;
    private const byte IdNone = 0x01;
    private const byte IdFifosEnabled = 0xC0;

    // FIFO control.
    private const byte FifoEnable = 1 << 0;
    private const byte FifoClearReceiver = 1 << 1;
    private const byte FifoKept = 0xC9;
    private const int FifoTriggerShift = 6;
    private const int FifoSize = 16;

    // Line control.
    private const byte DivisorLatchAccess = 1 << 7;

    // Modem control.
    private const byte Dtr = 1 << 0;
    private const byte Rts = 1 << 1;
    private const byte Out1 = 1 << 2;
    private const byte Out2 = 1 << 3;
    private const byte Loopback = 1 << 4;
    private const byte ModemControlMask = 0x1F;

    // Line status.
    private const byte DataReady = 1 << 0;
    private const byte OverrunError = 1 << 1;
    private const byte LineErrors = 0x1E;
    private const byte TransmitterHoldingEmpty = 1 << 5;
    private const byte TransmitterEmpty = 1 << 6;

    // Modem status: deltas in the low half.
    private const byte Cts = 1 << 4;
    private const byte Dsr = 1 << 5;
    private const byte RingIndicator = 1 << 6;
    private const byte CarrierDetect = 1 << 7;
    private const byte TrailingRing = 1 << 2;
    private const byte ModemDeltas = 0x0F;

    /// <summary>How much input may wait beyond the FIFO.</summary>
    private const int WaitingCapacity = 16384;

    /// <summary>
    /// A guest that reads the line status this often more than it sends bytes, and does nothing else, polls for input.
    /// (Reading it once per byte sent is waiting for the transmitter.)
    /// </summary>
    private const int PollsForInput = 16;

    private readonly Lock _lock = new();
    private readonly InterruptLine _irq;
    private readonly ISerialBackend? _backend;
    private readonly ByteQueue _received = new(FifoSize);
    private readonly ByteQueue _waiting = new(WaitingCapacity + FifoSize);
    private byte _interruptEnable;
    private byte _fifoControl;
    private byte _lineControl;
    private byte _modemControl;
    private byte _lineErrors;
    private byte _modemStatus = Cts | Dsr | CarrierDetect;
    private byte _scratch;
    private ushort _divisor = 12;
    private bool _transmitInterrupt;
    private bool _usesRts;
    private int _polls;
    private bool _refused;

    public Uart16550(InterruptLine irq, ISerialBackend? backend)
    {
        _irq = irq;
        _backend = backend;
    }

    /// <summary>
    /// Called, without any lock, when there is room again after <see cref="Receive"/> did not take all it was given.
    /// </summary>
    public Action? ReceiveReady { get; set; }

    private bool FifosEnabled => (_fifoControl & FifoEnable) != 0;

    private bool IsLoopback => (_modemControl & Loopback) != 0;

    private int TriggerLevel => !FifosEnabled
        ? 1
        : (_fifoControl >> FifoTriggerShift) switch
        {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        };

    public void Map(PortBus ports, ushort firstPort, string name) => ports.Map(firstPort, Ports, this, name);

    /// <summary>
    /// Gives the guest input, from any thread. Says how many bytes were taken; <see cref="ReceiveReady"/> tells when to
    /// come again with the rest.
    /// </summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            var taken = Math.Clamp(WaitingCapacity - _waiting.Count, 0, bytes.Length);
            for (var i = 0; i < taken; i++)
                _waiting.Enqueue(bytes[i]);
            if (taken < bytes.Length)
                _refused = true;
            Update();
            return taken;
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        for (var i = 0; i < size; i++)
            value |= (uint)ReadByte(offset + i) << (8 * i);
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        for (var i = 0; i < size; i++)
            WriteByte(offset + i, (byte)(value >> (8 * i)));
    }

    public Uart16550State Save()
    {
        lock (_lock)
        {
            return new()
            {
                InterruptEnable = _interruptEnable,
                FifoControl = _fifoControl,
                LineControl = _lineControl,
                ModemControl = _modemControl,
                LineErrors = _lineErrors,
                ModemStatus = _modemStatus,
                Scratch = _scratch,
                Divisor = _divisor,
                TransmitInterrupt = _transmitInterrupt,
                UsesRts = _usesRts,
                Received = _received.ToArray(),
                Waiting = _waiting.ToArray(),
            };
        }
    }

    public void Restore(Uart16550State state)
    {
        StateFormat.Require(
            state.Version == Uart16550State.CurrentVersion
            && state.Received is { Length: <= FifoSize } && state.Waiting is { Length: <= WaitingCapacity },
            "serial port");
        lock (_lock)
        {
            _interruptEnable = (byte)(state.InterruptEnable & InterruptEnableMask);
            _fifoControl = (byte)(state.FifoControl & FifoKept);
            _lineControl = state.LineControl;
            _modemControl = (byte)(state.ModemControl & ModemControlMask);
            _lineErrors = (byte)(state.LineErrors & LineErrors);
            _modemStatus = state.ModemStatus;
            _scratch = state.Scratch;
            _divisor = state.Divisor;
            _transmitInterrupt = state.TransmitInterrupt;
            _usesRts = state.UsesRts;
            _polls = 0;
            _received.Clear();
            foreach (var value in state.Received)
                _received.Enqueue(value);
            _waiting.Clear();
            foreach (var value in state.Waiting)
                _waiting.Enqueue(value);
            Update();
        }
    }

    private byte ReadByte(int register)
    {
        byte value;
        bool room;
        lock (_lock)
        {
            value = ReadRegister(register);

            // Between two loads of the FIFO the interrupt falls, as it would on a real line: an edge-triggered
            // controller sees each load.
            if (register == DataRegister && _received.Count == 0 && (_interruptEnable & EnableReceived) != 0)
                _irq.Lower();
            Update();
            room = _refused && _waiting.Count <= WaitingCapacity / 2;
            if (room)
                _refused = false;
        }

        if (room)
            ReceiveReady?.Invoke();
        return value;
    }

    private void WriteByte(int register, byte value)
    {
        bool sends;
        lock (_lock)
        {
            sends = WriteRegister(register, value);
            Update();
        }

        if (sends)
            _backend?.Write([value]);
    }

    private byte ReadRegister(int register)
    {
        var latch = (_lineControl & DivisorLatchAccess) != 0;
        switch (register)
        {
            case DataRegister when latch:
                return (byte)_divisor;
            case DataRegister:
                return _received.Count == 0 ? (byte)0 : _received.Dequeue();
            case InterruptEnableRegister:
                return latch ? (byte)(_divisor >> 8) : _interruptEnable;
            case InterruptIdentificationRegister:
                var id = InterruptIdentification();
                if (id == IdTransmitter)
                    _transmitInterrupt = false;
                return (byte)(id | (FifosEnabled ? IdFifosEnabled : 0));
            case LineControlRegister:
                return _lineControl;
            case ModemControlRegister:
                return _modemControl;
            case LineStatusRegister:
                if (_polls < PollsForInput)
                    _polls++;
                Feed();
                var status = (byte)(TransmitterHoldingEmpty | TransmitterEmpty | _lineErrors | (_received.Count != 0 ? DataReady : 0));
                _lineErrors = 0;
                return status;
            case ModemStatusRegister:
                var modem = _modemStatus;
                _modemStatus &= unchecked((byte)~ModemDeltas);
                return modem;
            default:
                return register == ScratchRegister ? _scratch : (byte)0xFF;
        }
    }

    /// <summary>Returns true if the byte goes to the backend.</summary>
    private bool WriteRegister(int register, byte value)
    {
        var latch = (_lineControl & DivisorLatchAccess) != 0;

        // Output takes back the one poll that waited for the transmitter: a guest that speaks as often as a slow host lets it
        // look for input, as SeaBIOS's console under a boot menu that counts seconds, gets its input all the same.
        _polls = register == DataRegister && !latch ? Math.Max(_polls - 1, 0) : 0;
        switch (register)
        {
            case DataRegister when latch:
                _divisor = (ushort)((_divisor & 0xFF00) | value);
                break;
            case DataRegister:
                // The transmitter is empty again at once.
                _transmitInterrupt = true;
                if (!IsLoopback)
                    return true;
                LoopBack(value);
                break;
            case InterruptEnableRegister when latch:
                _divisor = (ushort)((_divisor & 0x00FF) | (value << 8));
                break;
            case InterruptEnableRegister:
                // Enabling the transmitter's interrupt while it is empty raises it.
                if ((value & ~_interruptEnable & EnableTransmitter) != 0)
                    _transmitInterrupt = true;
                _interruptEnable = (byte)(value & InterruptEnableMask);
                break;
            case InterruptIdentificationRegister:
                WriteFifoControl(value);
                break;
            case LineControlRegister:
                _lineControl = value;
                break;
            case ModemControlRegister:
                WriteModemControl(value);
                break;
            case ScratchRegister:
                _scratch = value;
                break;
        }

        return false;
    }

    private void WriteFifoControl(byte value)
    {
        // Switching the FIFOs on or off empties them, as does the clear bit. What came from the host goes back to wait:
        // on a real line it would arrive later.
        if (((value ^ _fifoControl) & FifoEnable) != 0 || (value & FifoClearReceiver) != 0)
        {
            while (_received.Count != 0)
            {
                var last = _received.DequeueLast();
                if (!IsLoopback)
                    _waiting.EnqueueFirst(last);
            }

            _lineErrors = 0;
        }

        // The other bits can only be written together with the enable bit.
        _fifoControl = (value & FifoEnable) != 0 ? (byte)(value & FifoKept) : (byte)0;
    }

    private void WriteModemControl(byte value)
    {
        _modemControl = (byte)(value & ModemControlMask);
        if ((value & (Rts | Loopback)) == Rts)
            _usesRts = true;

        // In loopback the four outputs come back as the four inputs; otherwise the other end is there and ready.
        var inputs = !IsLoopback
            ? Cts | Dsr | CarrierDetect
            : ((value & Rts) != 0 ? Cts : 0) | ((value & Dtr) != 0 ? Dsr : 0)
                | ((value & Out1) != 0 ? RingIndicator : 0) | ((value & Out2) != 0 ? CarrierDetect : 0);
        var changed = (_modemStatus ^ inputs) & 0xF0;
        var deltas = (changed >> 4) & ~TrailingRing;
        if ((changed & RingIndicator) != 0 && (inputs & RingIndicator) == 0)
            deltas |= TrailingRing;
        _modemStatus = (byte)((_modemStatus & ModemDeltas) | deltas | inputs);
    }

    private void LoopBack(byte value)
    {
        var capacity = FifosEnabled ? FifoSize : 1;
        if (_received.Count < capacity)
        {
            _received.Enqueue(value);
            return;
        }

        _lineErrors |= OverrunError;
        if (!FifosEnabled)
        {
            _received.Clear();
            _received.Enqueue(value);
        }
    }

    /// <summary>Moves waiting input into the receiver when it is empty and the guest is ready for it.</summary>
    private void Feed()
    {
        if (_waiting.Count == 0 || _received.Count != 0 || IsLoopback)
            return;

        // A port that nobody serves yet keeps its input waiting: start-up code reads the data register to get rid of
        // old bytes.
        var wanted = (_interruptEnable & EnableReceived) != 0 || _polls >= PollsForInput;
        if (!wanted || (_usesRts && (_modemControl & Rts) == 0))
            return;
        var capacity = FifosEnabled ? FifoSize : 1;
        while (_waiting.Count != 0 && _received.Count < capacity)
            _received.Enqueue(_waiting.Dequeue());
    }

    private byte InterruptIdentification()
    {
        if ((_interruptEnable & EnableLineStatus) != 0 && _lineErrors != 0)
            return IdLineStatus;

        // Input comes in bursts, so what is below the trigger level has already waited for the four character times of
        // the time-out.
        if ((_interruptEnable & EnableReceived) != 0 && _received.Count != 0)
            return _received.Count >= TriggerLevel ? IdReceived : IdTimeout;
        if ((_interruptEnable & EnableTransmitter) != 0 && _transmitInterrupt)
            return IdTransmitter;
        if ((_interruptEnable & EnableModemStatus) != 0 && (_modemStatus & ModemDeltas) != 0)
            return IdModemStatus;
        return IdNone;
    }

    /// <summary>On a PC, OUT2 connects the interrupt to the bus; loopback disconnects it.</summary>
    private void Update()
    {
        Feed();
        _irq.Set(InterruptIdentification() != IdNone && (_modemControl & (Out2 | Loopback)) == Out2);
    }
}
