namespace Vivarium.Devices;

/// <summary>The I/O APIC (Intel 82093AA data sheet, with the EOI register of later versions).</summary>
public sealed class IoApic : IMmioDevice
{
    public const ulong DefaultAddress = 0xFEC0_0000;
    public const ulong Size = 0x1000;
    public const int Pins = 24;

    // Memory-mapped registers.
    private const ulong RegisterSelect = 0x00;
    private const ulong RegisterWindow = 0x10;
    private const ulong EoiRegister = 0x40;

    // Registers behind the window.
    private const byte IdRegister = 0x00;
    private const byte VersionRegister = 0x01;
    private const byte ArbitrationRegister = 0x02;
    private const byte FirstRedirection = 0x10;

    /// <summary>The first version with an EOI register.</summary>
    private const uint Version = 0x20;
    private const int IdShift = 24;

    // Redirection table entry.
    private const int ModeShift = 8;
    private const ulong LogicalDestination = 1 << 11;
    private const ulong DeliveryStatus = 1 << 12;
    private const ulong RemoteIrr = 1 << 14;
    private const ulong LevelTriggered = 1 << 15;
    private const ulong Masked = 1 << 16;
    private const ulong ReadOnly = DeliveryStatus | RemoteIrr;
    private const ulong Writable = 0xFF00_0000_0001_AFFF;
    private const int DestinationShift = 56;

    private readonly ApicBus _bus;
    private readonly ulong[] _redirection = new ulong[Pins];
    private uint _inputs;
    private byte _select;
    private byte _id;

    internal IoApic(ApicBus bus)
    {
        _bus = bus;
        Array.Fill(_redirection, Masked);
        bus.Add(this);
    }

    public void Map(MmioBus mmio) => mmio.Map(DefaultAddress, Size, this, "I/O APIC");

    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_bus.Lock)
        {
            return offset switch
            {
                RegisterSelect => _select,
                RegisterWindow => ReadRegister(),
                _ => 0,
            };
        }
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        lock (_bus.Lock)
        {
            switch (offset)
            {
                case RegisterSelect:
                    _select = (byte)value;
                    break;
                case RegisterWindow:
                    WriteRegister((uint)value);
                    break;
                case EoiRegister:
                    EndOfInterrupt((byte)value);
                    break;
            }
        }
    }

    /// <summary>A pin changes; called with the interrupt lock held. Levels are logical: asserted or not, whatever the polarity.</summary>
    internal void SetInput(int pin, bool level)
    {
        var bit = 1u << pin;
        if (!level)
        {
            _inputs &= ~bit;
            return;
        }

        var rising = (_inputs & bit) == 0;
        _inputs |= bit;
        if ((_redirection[pin] & LevelTriggered) != 0)
            ServeLevel(pin);
        else if (rising && (_redirection[pin] & Masked) == 0)
            Deliver(pin);
    }

    /// <summary>A local APIC has ended a level-triggered interrupt; called with the interrupt lock held.</summary>
    internal void EndOfInterrupt(byte vector)
    {
        for (var pin = 0; pin < Pins; pin++)
        {
            var entry = _redirection[pin];
            if ((byte)entry != vector || (entry & LevelTriggered) == 0)
                continue;
            _redirection[pin] = entry & ~RemoteIrr;
            ServeLevel(pin);
        }
    }

    public IoApicState Save()
    {
        lock (_bus.Lock)
            return new() { Id = _id, Select = _select, Inputs = _inputs, Redirection = [.. _redirection] };
    }

    public void Restore(IoApicState state)
    {
        StateFormat.Require(state.Version == IoApicState.CurrentVersion && state.Redirection is { Length: Pins }, "I/O APIC");
        lock (_bus.Lock)
        {
            _id = (byte)(state.Id & 0x0F);
            _select = state.Select;
            _inputs = state.Inputs & ((1u << Pins) - 1);
            for (var pin = 0; pin < Pins; pin++)
                _redirection[pin] = state.Redirection[pin] & (Writable | RemoteIrr);
        }
    }

    private uint ReadRegister()
    {
        switch (_select)
        {
            case IdRegister or ArbitrationRegister:
                return (uint)_id << IdShift;
            case VersionRegister:
                return Version | ((Pins - 1) << 16);
        }

        var pin = (_select - FirstRedirection) >> 1;
        if (_select < FirstRedirection || pin >= Pins)
            return 0;
        return (uint)((_select & 1) != 0 ? _redirection[pin] >> 32 : _redirection[pin]);
    }

    private void WriteRegister(uint value)
    {
        if (_select == IdRegister)
        {
            _id = (byte)((value >> IdShift) & 0x0F);
            return;
        }

        var pin = (_select - FirstRedirection) >> 1;
        if (_select < FirstRedirection || pin >= Pins)
            return;
        var entry = _redirection[pin];
        if ((_select & 1) != 0)
        {
            _redirection[pin] = (entry & uint.MaxValue) | ((ulong)value << 32 & Writable);
            return;
        }

        entry = (entry & ~(ulong)uint.MaxValue) | (value & Writable) | (entry & ReadOnly);
        if ((entry & LevelTriggered) == 0)
            entry &= ~RemoteIrr;
        _redirection[pin] = entry;
        ServeLevel(pin);
    }

    /// <summary>Sends a level-triggered interrupt if its pin is asserted and the last one has been ended.</summary>
    private void ServeLevel(int pin)
    {
        var entry = _redirection[pin];
        if ((entry & (LevelTriggered | Masked | RemoteIrr)) != LevelTriggered || (_inputs & (1u << pin)) == 0)
            return;

        // Set before delivery: a processor that is asked may end it at once. Nobody accepting leaves it to be retried
        // at the next change.
        _redirection[pin] |= RemoteIrr;
        if (!Deliver(pin))
            _redirection[pin] &= ~RemoteIrr;
    }

    private bool Deliver(int pin)
    {
        var entry = _redirection[pin];
        var mode = (DeliveryMode)((entry >> ModeShift) & 7);
        return _bus.Deliver(new ApicMessage(
            (byte)entry,
            mode,
            (entry & LogicalDestination) != 0,
            ApicBus.Widen((byte)(entry >> DestinationShift)),
            (entry & LevelTriggered) != 0));
    }
}
