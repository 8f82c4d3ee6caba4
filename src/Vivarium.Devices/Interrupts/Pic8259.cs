namespace Vivarium.Devices;

/// <summary>
/// The two cascaded 8259A interrupt controllers of a PC (Intel 8259A data sheet; edge/level control registers as in the
/// 82371SB PIIX3 data sheet, 2.5.4).
/// </summary>
public sealed class Pic8259 : IPortDevice
{
    public const ushort MasterPort = 0x20;
    public const ushort SlavePort = 0xA0;
    public const ushort ElcrPort = 0x4D0;

    private const ushort MasterOffset = 0;
    private const ushort SlaveOffset = 2;
    private const ushort ElcrOffset = 4;

    private const byte Icw1 = 0x10;
    private const byte Icw1NeedIcw4 = 0x01;
    private const byte Icw1Single = 0x02;
    private const byte Icw1LevelTriggered = 0x08;
    private const byte Icw4AutoEoi = 0x02;
    private const byte Icw4SpecialFullyNested = 0x10;
    private const byte Ocw3 = 0x08;
    private const byte Ocw3ReadIsr = 0x01;
    private const byte Ocw3ReadRegister = 0x02;
    private const byte Ocw3Poll = 0x04;
    private const byte Ocw3SpecialMask = 0x20;
    private const byte Ocw3SetSpecialMask = 0x40;
    private const byte Ocw2Level = 0x07;
    private const byte PollInterrupt = 0x80;

    /// <summary>OCW2 bits 7:5.</summary>
    private enum EoiCommand
    {
        ClearRotateOnAutoEoi,
        NonSpecific,
        NoOperation,
        Specific,
        SetRotateOnAutoEoi,
        RotateNonSpecific,
        SetPriority,
        RotateSpecific,
    }

    private const int Cascade = 2;

    /// <summary>The input that a chip names when the request has gone by the time of the acknowledge.</summary>
    private const int SpuriousInput = 7;

    /// <summary>IRQ 0, 1, 2, 8 and 13 are always edge-triggered.</summary>
    private const byte MasterElcrMask = 0xF8;
    private const byte SlaveElcrMask = 0xDE;

    private readonly Lock _lock;
    private readonly Chip _master = new(MasterElcrMask);
    private readonly Chip _slave = new(SlaveElcrMask);
    private bool _output;

    /// <param name="interruptLock">The lock that all interrupt controllers of a machine share.</param>
    internal Pic8259(Lock interruptLock) => _lock = interruptLock;

    /// <summary>The INT output; changes are told with the interrupt lock held.</summary>
    internal Action<bool>? OutputChanged { get; set; }

    /// <summary>INT: an unmasked request waits.</summary>
    public bool Output => Volatile.Read(ref _output);

    public void Map(PortBus ports)
    {
        ports.Map(MasterPort, 2, this, "8259 master", MasterOffset);
        ports.Map(SlavePort, 2, this, "8259 slave", SlaveOffset);
        ports.Map(ElcrPort, 2, this, "8259 edge/level control", ElcrOffset);
    }

    /// <summary>Sets an input's bit in the edge/level control registers, as firmware does for PCI interrupts.</summary>
    internal void SetLevelTriggered(int irq)
    {
        lock (_lock)
        {
            if (irq < 8)
                _master.WriteElcr((byte)(_master.Elcr | 1 << irq));
            else
                _slave.WriteElcr((byte)(_slave.Elcr | 1 << (irq - 8)));
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        lock (_lock)
        {
            uint value = 0;
            for (var i = 0; i < size; i++)
                value |= (uint)ReadByte(offset + i) << (8 * i);
            return value;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                WriteByte(offset + i, (byte)(value >> (8 * i)));
            Update();
        }
    }

    /// <summary>
    /// A processor's interrupt acknowledge: the vector. If the request has gone (perhaps to another processor), -1, or a
    /// spurious vector if the processor had been told to acknowledge and not just seen the output.
    /// </summary>
    internal int Acknowledge(bool evenIfGone)
    {
        lock (_lock)
        {
            if (!_output && !evenIfGone)
                return -1;
            var input = _master.HighestRequest();
            byte vector;
            if (input < 0)
            {
                vector = (byte)(_master.VectorBase + SpuriousInput);
            }
            else
            {
                _master.Acknowledge(input);
                vector = (byte)(_master.VectorBase + input);
                if (input == Cascade)
                {
                    var slaveInput = _slave.HighestRequest();
                    if (slaveInput >= 0)
                        _slave.Acknowledge(slaveInput);
                    vector = (byte)(_slave.VectorBase + (slaveInput < 0 ? SpuriousInput : slaveInput));
                }
            }

            Update();
            return vector;
        }
    }

    /// <summary>One of the 16 inputs changes; called with the interrupt lock held.</summary>
    internal void SetInput(int irq, bool level)
    {
        if (irq < 8)
            _master.SetInput(irq, level);
        else
            _slave.SetInput(irq - 8, level);
        Update();
    }

    public Pic8259State Save()
    {
        lock (_lock)
            return new() { Chips = [_master.Save(), _slave.Save()] };
    }

    public void Restore(Pic8259State state)
    {
        StateFormat.Require(state.Version == Pic8259State.CurrentVersion && state.Chips is { Length: 2 }, "8259");
        lock (_lock)
        {
            _master.Restore(state.Chips[0]);
            _slave.Restore(state.Chips[1]);
            Update();
        }
    }

    private byte ReadByte(int offset)
    {
        var value = offset switch
        {
            MasterOffset => _master.ReadCommand(),
            MasterOffset + 1 => _master.ReadData(),
            SlaveOffset => _slave.ReadCommand(),
            SlaveOffset + 1 => _slave.ReadData(),
            ElcrOffset => _master.Elcr,
            ElcrOffset + 1 => _slave.Elcr,
            _ => (byte)0xFF,
        };
        Update();
        return value;
    }

    private void WriteByte(int offset, byte value)
    {
        switch (offset)
        {
            case MasterOffset:
                _master.WriteCommand(value);
                break;
            case MasterOffset + 1:
                _master.WriteData(value);
                break;
            case SlaveOffset:
                _slave.WriteCommand(value);
                break;
            case SlaveOffset + 1:
                _slave.WriteData(value);
                break;
            case ElcrOffset:
                _master.WriteElcr(value);
                break;
            case ElcrOffset + 1:
                _slave.WriteElcr(value);
                break;
        }
    }

    /// <summary>Carries the slave's output to the master's cascade input, and the master's to the processor.</summary>
    private void Update()
    {
        // The slave drops its line while it is acknowledged and raises it again for the next request. Its output is
        // treated as level-triggered here, so that no request of higher priority is lost in between.
        _master.SetCascade(_slave.HighestRequest() >= 0);
        var output = _master.HighestRequest() >= 0;
        if (output == _output)
            return;

        // A local APIC that unmasks its LINT0 writes its entry, then looks here; this side does the reverse.
        Volatile.Write(ref _output, output);
        Interlocked.MemoryBarrier();
        OutputChanged?.Invoke(output);
    }

    private sealed class Chip(byte elcrMask)
    {
        private byte _irr;
        private byte _imr;
        private byte _isr;
        private byte _inputs;
        private byte _elcr;
        private byte _lowestPriority = 7;
        private byte _initializationStep;
        private bool _expectIcw4;
        private bool _single;
        private bool _levelTriggered;
        private bool _autoEoi;
        private bool _rotateOnAutoEoi;
        private bool _specialMask;
        private bool _specialFullyNested;
        private bool _readIsr;
        private bool _poll;

        public byte VectorBase { get; private set; }

        public byte Elcr => _elcr;

        private byte LevelInputs => _levelTriggered ? (byte)0xFF : _elcr;

        public void SetInput(int input, bool level)
        {
            var bit = (byte)(1 << input);
            if (level)
            {
                if ((_inputs & bit) == 0 || (LevelInputs & bit) != 0)
                    _irr |= bit;
                _inputs |= bit;
            }
            else
            {
                // The request has to stay until the acknowledge for either kind of trigger; a level that falls takes
                // its request back, an edge that was latched stays.
                if ((LevelInputs & bit) != 0)
                    _irr &= (byte)~bit;
                _inputs &= (byte)~bit;
            }
        }

        public void SetCascade(bool level)
        {
            const byte bit = 1 << Cascade;
            _irr = (byte)(level ? _irr | bit : _irr & ~bit);
            _inputs = (byte)(level ? _inputs | bit : _inputs & ~bit);
        }

        /// <summary>The request that the processor would get now, or -1.</summary>
        public int HighestRequest()
        {
            var requests = (byte)(_irr & ~_imr);
            if (requests == 0)
                return -1;

            // In special mask mode masked inputs in service do not hold back lower ones. In special fully nested mode
            // the slave may interrupt its own service.
            var inService = _specialMask ? (byte)(_isr & ~_imr) : _isr;
            for (var i = 1; i <= 8; i++)
            {
                var input = (_lowestPriority + i) & 7;
                var bit = 1 << input;
                var blocks = (inService & bit) != 0;
                if (blocks && !(_specialFullyNested && (requests & bit) != 0 && input == Cascade))
                    return -1;
                if ((requests & bit) != 0)
                    return input;
            }

            return -1;
        }

        public void Acknowledge(int input)
        {
            var bit = (byte)(1 << input);
            if ((LevelInputs & bit) == 0)
                _irr &= (byte)~bit;
            if (!_autoEoi)
                _isr |= bit;
            else if (_rotateOnAutoEoi)
                _lowestPriority = (byte)input;
        }

        public byte ReadCommand()
        {
            if (!_poll)
                return _readIsr ? _isr : _irr;
            _poll = false;
            var input = HighestRequest();
            if (input < 0)
                return 0;
            Acknowledge(input);
            return (byte)(PollInterrupt | input);
        }

        public byte ReadData()
        {
            if (!_poll)
                return _imr;
            return ReadCommand();
        }

        public void WriteCommand(byte value)
        {
            if ((value & Icw1) != 0)
                Initialize(value);
            else if ((value & Ocw3) != 0)
                WriteOcw3(value);
            else
                EndOfInterrupt((EoiCommand)(value >> 5), value & Ocw2Level);
        }

        public void WriteData(byte value)
        {
            switch (_initializationStep)
            {
                case 2:
                    VectorBase = (byte)(value & 0xF8);
                    _initializationStep = (byte)(_single ? (_expectIcw4 ? 4 : 0) : 3);
                    break;
                case 3:
                    // ICW3 says where the cascade is; on a PC that is wiring.
                    _initializationStep = (byte)(_expectIcw4 ? 4 : 0);
                    break;
                case 4:
                    _autoEoi = (value & Icw4AutoEoi) != 0;
                    _specialFullyNested = (value & Icw4SpecialFullyNested) != 0;
                    _initializationStep = 0;
                    break;
                default:
                    _imr = value;
                    break;
            }
        }

        public void WriteElcr(byte value)
        {
            _elcr = (byte)(value & elcrMask);
            _irr = (byte)((_irr & ~_elcr) | (_inputs & _elcr));
        }

        public Pic8259ChipState Save() => new()
        {
            Irr = _irr,
            Imr = _imr,
            Isr = _isr,
            Inputs = _inputs,
            Elcr = _elcr,
            VectorBase = VectorBase,
            LowestPriority = _lowestPriority,
            InitializationStep = _initializationStep,
            ExpectIcw4 = _expectIcw4,
            Single = _single,
            LevelTriggered = _levelTriggered,
            AutoEoi = _autoEoi,
            RotateOnAutoEoi = _rotateOnAutoEoi,
            SpecialMask = _specialMask,
            SpecialFullyNested = _specialFullyNested,
            ReadIsr = _readIsr,
            Poll = _poll,
        };

        public void Restore(Pic8259ChipState state)
        {
            _irr = state.Irr;
            _imr = state.Imr;
            _isr = state.Isr;
            _inputs = state.Inputs;
            _elcr = (byte)(state.Elcr & elcrMask);
            VectorBase = (byte)(state.VectorBase & 0xF8);
            _lowestPriority = (byte)(state.LowestPriority & 7);
            _initializationStep = state.InitializationStep;
            _expectIcw4 = state.ExpectIcw4;
            _single = state.Single;
            _levelTriggered = state.LevelTriggered;
            _autoEoi = state.AutoEoi;
            _rotateOnAutoEoi = state.RotateOnAutoEoi;
            _specialMask = state.SpecialMask;
            _specialFullyNested = state.SpecialFullyNested;
            _readIsr = state.ReadIsr;
            _poll = state.Poll;
        }

        private void Initialize(byte icw1)
        {
            _imr = 0;
            _isr = 0;
            _lowestPriority = 7;
            _specialMask = false;
            _readIsr = false;
            _poll = false;
            _autoEoi = false;
            _rotateOnAutoEoi = false;
            _specialFullyNested = false;
            _expectIcw4 = (icw1 & Icw1NeedIcw4) != 0;
            _single = (icw1 & Icw1Single) != 0;
            _levelTriggered = (icw1 & Icw1LevelTriggered) != 0;
            _irr = (byte)(_inputs & LevelInputs);
            _initializationStep = 2;
        }

        private void WriteOcw3(byte value)
        {
            _poll = (value & Ocw3Poll) != 0;
            if ((value & Ocw3ReadRegister) != 0)
                _readIsr = (value & Ocw3ReadIsr) != 0;
            if ((value & Ocw3SetSpecialMask) != 0)
                _specialMask = (value & Ocw3SpecialMask) != 0;
        }

        private void EndOfInterrupt(EoiCommand command, int level)
        {
            switch (command)
            {
                case EoiCommand.ClearRotateOnAutoEoi:
                    _rotateOnAutoEoi = false;
                    break;
                case EoiCommand.SetRotateOnAutoEoi:
                    _rotateOnAutoEoi = true;
                    break;
                case EoiCommand.NonSpecific or EoiCommand.RotateNonSpecific:
                    var highest = HighestInService();
                    if (highest < 0)
                        break;
                    _isr &= (byte)~(1 << highest);
                    if (command == EoiCommand.RotateNonSpecific)
                        _lowestPriority = (byte)highest;
                    break;
                case EoiCommand.Specific or EoiCommand.RotateSpecific:
                    _isr &= (byte)~(1 << level);
                    if (command == EoiCommand.RotateSpecific)
                        _lowestPriority = (byte)level;
                    break;
                case EoiCommand.SetPriority:
                    _lowestPriority = (byte)level;
                    break;
            }
        }

        /// <summary>A non-specific EOI ends the service of the highest priority; in special mask mode, not of a masked input.</summary>
        private int HighestInService()
        {
            var inService = _specialMask ? _isr & ~_imr : _isr;
            for (var i = 1; i <= 8; i++)
            {
                var input = (_lowestPriority + i) & 7;
                if ((inService & (1 << input)) != 0)
                    return input;
            }

            return -1;
        }
    }
}
