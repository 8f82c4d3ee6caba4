namespace Vivarium.Devices;

/// <summary>
/// ACPI fixed hardware (ACPI 6.4, 4.8): PM1a event and control blocks, the power-management timer, a GPE block and the
/// SCI. The machine is always in ACPI mode: there is no SMI command port, and SCI_EN is set.
/// </summary>
public sealed class AcpiPm : IPortDevice
{
    /// <summary>Where the PM1a event block (4 ports), PM1a control block (2, from +4) and PM timer (4, from +8) are.</summary>
    public const ushort DefaultBase = 0x600;

    public const int EventOffset = 0x0;
    public const int EventLength = 4;
    public const int ControlOffset = 0x4;
    public const int ControlLength = 2;
    public const int TimerOffset = 0x8;
    public const int TimerLength = 4;

    /// <summary>GPE0: status and enable, 16 events.</summary>
    public const ushort GpeBase = 0xAFE0;

    public const int GpeLength = 4;

    /// <summary>The SCI: level-triggered, active high.</summary>
    public const int SciIrq = 9;

    /// <summary>SLP_TYP of the \_S5 object.</summary>
    public const int SleepTypeS5 = 0;

    public const long TimerFrequency = 3_579_545;

    /// <summary>The width of the PM timer: the FADT says TMR_VAL_EXT.</summary>
    public const int TimerBits = 32;

    /// <summary>How many ports the chip has; those that are not named here read as zero.</summary>
    internal const int Ports = 64;

    private const int GpeOffset = Ports;

    // PM1 status and enable.
    private const ushort TimerStatus = 1 << 0;
    private const ushort GlobalStatus = 1 << 5;
    private const ushort PowerButtonStatus = 1 << 8;
    private const ushort SleepButtonStatus = 1 << 9;
    private const ushort RtcStatus = 1 << 10;
    private const ushort WakeStatus = 1 << 15;
    private const ushort EnableMask = TimerStatus | GlobalStatus | PowerButtonStatus | SleepButtonStatus | RtcStatus;
    private const ushort StatusMask = EnableMask | WakeStatus;

    // PM1 control.
    private const ushort SciEnable = 1 << 0;
    private const int SleepTypeShift = 10;
    private const ushort SleepTypeMask = 7 << SleepTypeShift;
    private const ushort SleepEnable = 1 << 13;
    private const ushort BusMasterReload = 1 << 1;

    private const int TimerHalfShift = TimerBits - 1;

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly ClockTimer _timer;
    private readonly InterruptLine _sci;
    private ushort _eventStatus;
    private ushort _eventEnable;
    private ushort _control = SciEnable;
    private ushort _gpeStatus;
    private ushort _gpeEnable;
    private long _timerHalves;

    public AcpiPm(MachineClock clock, InterruptLine sci)
    {
        _clock = clock;
        _sci = sci;
        _timer = clock.Deadlines.CreateTimer(OnTimer);
    }

    /// <summary>The guest has switched itself off (S5). Called on the vCPU's thread without any lock.</summary>
    public Action? PowerOff { get; set; }

    private long Ticks
    {
        get
        {
            var (seconds, rest) = Math.DivRem(_clock.Nanoseconds, MachineClock.NanosecondsPerSecond);
            return seconds * TimerFrequency + rest * TimerFrequency / MachineClock.NanosecondsPerSecond;
        }
    }

    /// <summary>Maps all of them.</summary>
    public void Map(PortBus ports)
    {
        ports.Map(DefaultBase, Ports, this, "ACPI power management");
        MapEvents(ports);
    }

    /// <summary>Maps the general-purpose events; where the rest is, <see cref="Piix4Pm"/> says.</summary>
    public void MapEvents(PortBus ports)
    {
        ports.Map(GpeBase, GpeLength, this, "ACPI general-purpose events", GpeOffset);
    }

    /// <summary>Asks the guest to shut down, as the button on the case does.</summary>
    public void PressPowerButton()
    {
        lock (_lock)
        {
            _eventStatus |= PowerButtonStatus;
            Drive();
        }
    }

    /// <summary>Raises one of the 16 general-purpose events.</summary>
    public void RaiseGpe(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(number, 16);
        lock (_lock)
        {
            _gpeStatus |= (ushort)(1 << number);
            Drive();
        }
    }

    public uint ReadPort(ushort offset, int size)
    {
        // The counter is read in one go; the rest byte by byte, which guests may do too.
        if (offset == TimerOffset && size == 4)
            return (uint)Ticks;
        lock (_lock)
        {
            Advance();
            uint value = 0;
            for (var i = 0; i < size; i++)
                value |= (uint)ReadByte(offset + i) << (8 * i);
            return value;
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        var powerOff = false;
        lock (_lock)
        {
            Advance();
            for (var i = 0; i < size; i++)
                powerOff |= WriteByte(offset + i, (byte)(value >> (8 * i)));
            ArmTimer();
            Drive();
        }

        if (powerOff)
            PowerOff?.Invoke();
    }

    public AcpiPmState Save()
    {
        lock (_lock)
        {
            return new()
            {
                EventStatus = _eventStatus,
                EventEnable = _eventEnable,
                Control = _control,
                GpeStatus = _gpeStatus,
                GpeEnable = _gpeEnable,
                TimerHalves = _timerHalves,
            };
        }
    }

    public void Restore(AcpiPmState state)
    {
        StateFormat.Require(state.Version == AcpiPmState.CurrentVersion, "ACPI power management");
        lock (_lock)
        {
            _eventStatus = (ushort)(state.EventStatus & StatusMask);
            _eventEnable = (ushort)(state.EventEnable & EnableMask);
            _control = (ushort)(state.Control & (SleepTypeMask | BusMasterReload) | SciEnable);
            _gpeStatus = state.GpeStatus;
            _gpeEnable = state.GpeEnable;
            _timerHalves = state.TimerHalves;
            ArmTimer();
            Drive();
        }
    }

    private byte ReadByte(int offset) => offset switch
    {
        0 => (byte)_eventStatus,
        1 => (byte)(_eventStatus >> 8),
        2 => (byte)_eventEnable,
        3 => (byte)(_eventEnable >> 8),
        ControlOffset => (byte)_control,
        ControlOffset + 1 => (byte)(_control >> 8),
        >= TimerOffset and < TimerOffset + TimerLength => (byte)((uint)Ticks >> (8 * (offset - TimerOffset))),
        GpeOffset => (byte)_gpeStatus,
        GpeOffset + 1 => (byte)(_gpeStatus >> 8),
        GpeOffset + 2 => (byte)_gpeEnable,
        GpeOffset + 3 => (byte)(_gpeEnable >> 8),
        _ => 0,
    };

    /// <summary>Returns true if the guest switches itself off.</summary>
    private bool WriteByte(int offset, byte value)
    {
        switch (offset)
        {
            case 0:
                _eventStatus &= (ushort)~value;
                break;
            case 1:
                _eventStatus &= (ushort)~(value << 8);
                break;
            case 2:
                _eventEnable = (ushort)((_eventEnable & 0xFF00 | value) & EnableMask);
                break;
            case 3:
                _eventEnable = (ushort)((_eventEnable & 0x00FF | value << 8) & EnableMask);
                break;
            case ControlOffset:
                _control = (ushort)(_control & 0xFF00 | value & BusMasterReload | SciEnable);
                break;
            case ControlOffset + 1:
                // SLP_EN is write-only. Of the sleep states only S5 is there.
                var control = value << 8;
                _control = (ushort)(_control & 0x00FF | control & SleepTypeMask);
                return (control & SleepEnable) != 0 && (control & SleepTypeMask) >> SleepTypeShift == SleepTypeS5;
            case GpeOffset:
                _gpeStatus &= (ushort)~value;
                break;
            case GpeOffset + 1:
                _gpeStatus &= (ushort)~(value << 8);
                break;
            case GpeOffset + 2:
                _gpeEnable = (ushort)(_gpeEnable & 0xFF00 | value);
                break;
            case GpeOffset + 3:
                _gpeEnable = (ushort)(_gpeEnable & 0x00FF | value << 8);
                break;
        }

        return false;
    }

    private void Drive() => _sci.Set((_eventStatus & _eventEnable) != 0 || (_gpeStatus & _gpeEnable) != 0);

    /// <summary>TMR_STS is set whenever the timer's highest bit changes.</summary>
    private void Advance()
    {
        var halves = Ticks >> TimerHalfShift;
        if (halves != _timerHalves)
            _eventStatus |= TimerStatus;
        _timerHalves = halves;
    }

    private void ArmTimer()
    {
        if ((_eventEnable & TimerStatus) == 0)
        {
            _timer.Cancel();
            return;
        }

        var ticks = ((Ticks >> TimerHalfShift) + 1) << TimerHalfShift;
        var (seconds, rest) = Math.DivRem(ticks, TimerFrequency);
        _timer.Arm(seconds * MachineClock.NanosecondsPerSecond
            + (rest * MachineClock.NanosecondsPerSecond + TimerFrequency - 1) / TimerFrequency);
    }

    private void OnTimer()
    {
        lock (_lock)
        {
            Advance();
            ArmTimer();
            Drive();
        }
    }
}
