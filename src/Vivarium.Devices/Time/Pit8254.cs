namespace Vivarium.Devices;

/// <summary>
/// The 8254 programmable interval timer (Intel 8254 data sheet) and port 0x61, through which a PC gates counter 2 and
/// reads it back. Counter 0 drives IRQ 0.
/// </summary>
public sealed class Pit8254 : IPortDevice
{
    public const ushort Port = 0x40;
    public const ushort SystemControlB = 0x61;

    /// <summary>Input clock in Hz: 14.31818 MHz / 12.</summary>
    public const long Frequency = 1_193_182;

    private const int Channels = 3;
    private const ushort ControlOffset = 3;
    private const ushort SystemControlOffset = 4;

    // Control word.
    private const int SelectShift = 6;
    private const int ReadBackSelect = 3;
    private const int ReadBackCountInverted = 1 << 5;
    private const int ReadBackStatusInverted = 1 << 4;

    // Port 0x61.
    private const byte Gate2 = 1 << 0;
    private const byte SpeakerData = 1 << 1;
    private const byte RefreshToggle = 1 << 4;
    private const byte Out2 = 1 << 5;

    /// <summary>The refresh bit toggles with every DRAM refresh cycle.</summary>
    private const long RefreshNanoseconds = 15_085;

    /// <summary>IRQ 0 does not come more often than this; a guest cannot keep the host busy with it.</summary>
    private const long ShortestPeriod = 20_000;

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly ClockTimer _timer;
    private readonly InterruptLine _irq0;
    private readonly PitChannel[] _channels = [new PitChannel(true), new PitChannel(true), new PitChannel(false)];
    private bool _speakerData;

    /// <summary>The tick of the rising edge that the timer is armed for.</summary>
    private long _edge = MachineClock.Never;

    public Pit8254(MachineClock clock, InterruptLine irq0)
    {
        _clock = clock;
        _irq0 = irq0;
        _timer = clock.Deadlines.CreateTimer(OnTimer);
        _irq0.Set(_channels[0].Output(0));
    }

    private long Now => ToTicks(_clock.Nanoseconds);

    public void Map(PortBus ports)
    {
        ports.Map(Port, 4, this, "8254 timer");
        ports.Map(SystemControlB, 1, this, "system control port B", SystemControlOffset);
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
        }
    }

    public Pit8254State Save()
    {
        lock (_lock)
        {
            return new()
            {
                Channels = [.. _channels.Select(channel => channel.Save())],
                SpeakerData = _speakerData,
                EdgeDue = _edge <= Now,
            };
        }
    }

    public void Restore(Pit8254State state)
    {
        StateFormat.Require(state.Version == Pit8254State.CurrentVersion && state.Channels is { Length: Channels }, "8254");
        lock (_lock)
        {
            var now = Now;
            for (var i = 0; i < Channels; i++)
                _channels[i].Restore(state.Channels[i], now);
            _speakerData = state.SpeakerData;
            DriveIrq0(now);
            if (!state.EdgeDue)
                return;
            _edge = now;
            _timer.Arm(_clock.Nanoseconds);
        }
    }

    private static long ToTicks(long nanoseconds)
    {
        var (seconds, rest) = Math.DivRem(nanoseconds, MachineClock.NanosecondsPerSecond);
        return seconds * Frequency + rest * Frequency / MachineClock.NanosecondsPerSecond;
    }

    /// <summary>The first nanosecond in which <paramref name="ticks"/> have passed.</summary>
    private static long ToNanoseconds(long ticks)
    {
        var (seconds, rest) = Math.DivRem(ticks, Frequency);
        return seconds * MachineClock.NanosecondsPerSecond + (rest * MachineClock.NanosecondsPerSecond + Frequency - 1) / Frequency;
    }

    private byte ReadByte(int offset)
    {
        switch (offset)
        {
            case < Channels:
                return _channels[offset].Read(Now);
            case SystemControlOffset:
                var channel = _channels[2];
                return (byte)((channel.Gate ? Gate2 : 0)
                    | (_speakerData ? SpeakerData : 0)
                    | ((_clock.Nanoseconds / RefreshNanoseconds & 1) != 0 ? RefreshToggle : 0)
                    | (channel.Output(Now) ? Out2 : 0));
            default:
                // The control word register cannot be read.
                return 0xFF;
        }
    }

    private void WriteByte(int offset, byte value)
    {
        var now = Now;
        switch (offset)
        {
            case < Channels:
                _channels[offset].Write(value, now);
                if (offset == 0)
                    DriveIrq0(now);
                break;
            case ControlOffset:
                WriteControl(value, now);
                break;
            case SystemControlOffset:
                _channels[2].SetGate((value & Gate2) != 0, now);
                _speakerData = (value & SpeakerData) != 0;
                break;
        }
    }

    private void WriteControl(byte value, long now)
    {
        var select = value >> SelectShift;
        if (select != ReadBackSelect)
        {
            _channels[select].WriteControl(value, now);
            if (select == 0)
                DriveIrq0(now);
            return;
        }

        for (var i = 0; i < Channels; i++)
        {
            if ((value & (2 << i)) == 0)
                continue;
            if ((value & ReadBackStatusInverted) == 0)
                _channels[i].LatchStatus(now);
            if ((value & ReadBackCountInverted) == 0)
                _channels[i].LatchCount(now);
        }
    }

    /// <summary>Sets IRQ 0 to counter 0's output and arms the timer for its next rising edge.</summary>
    private void DriveIrq0(long now)
    {
        _irq0.Set(_channels[0].Output(now));
        ArmEdge(now, 0);
    }

    private void ArmEdge(long now, long earliest)
    {
        _edge = _channels[0].NextRisingEdge(now);
        if (_edge == MachineClock.Never)
            _timer.Cancel();
        else
            _timer.Arm(Math.Max(ToNanoseconds(_edge), earliest));
    }

    private void OnTimer()
    {
        lock (_lock)
        {
            var nanoseconds = _clock.Nanoseconds;
            var now = ToTicks(nanoseconds);
            if (now < _edge)
                return;

            // The output has been low for at least one tick, however short that was.
            _irq0.Lower();
            _irq0.Raise();
            ArmEdge(now, nanoseconds + ShortestPeriod);
        }
    }
}
