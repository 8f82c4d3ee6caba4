namespace Vivarium.Devices;

/// <summary>
/// The high precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter of 100 MHz and three comparators, all
/// of them periodic, with legacy replacement of IRQ 0 and IRQ 8 and routing to I/O APIC pins 20-23.
/// </summary>
public sealed class Hpet : IMmioDevice
{
    public const ulong DefaultAddress = 0xFED0_0000;
    public const ulong Size = 0x400;

    /// <summary>The low half of the capabilities register: the event timer block ID of the ACPI HPET table.</summary>
    public const uint BlockId = Revision | ((Timers - 1) << TimerCountShift) | CounterIs64Bit | LegacyCapable | (Vendor << VendorShift);

    private const uint Timers = 3;
    private const uint Revision = 1;
    private const int TimerCountShift = 8;
    private const uint CounterIs64Bit = 1 << 13;
    private const uint LegacyCapable = 1 << 15;
    private const uint Vendor = 0x8086;
    private const int VendorShift = 16;

    private const ulong NanosecondsPerTick = 10;
    private const ulong FemtosecondsPerTick = NanosecondsPerTick * 1_000_000;

    // Registers.
    private const ulong Capabilities = 0x000;
    private const ulong GeneralConfiguration = 0x010;
    private const ulong InterruptStatus = 0x020;
    private const ulong MainCounter = 0x0F0;
    private const ulong FirstTimer = 0x100;
    private const ulong TimerStride = 0x20;
    private const ulong TimerConfiguration = 0x00;
    private const ulong TimerComparator = 0x08;
    private const ulong TimerFsbRoute = 0x10;

    // General configuration.
    private const ulong Enable = 1 << 0;
    private const ulong LegacyReplacement = 1 << 1;

    // Timer configuration.
    private const ulong LevelTriggered = 1 << 1;
    private const ulong InterruptEnable = 1 << 2;
    private const ulong Periodic = 1 << 3;
    private const ulong PeriodicCapable = 1 << 4;
    private const ulong Is64Bit = 1 << 5;
    private const ulong ValueSet = 1 << 6;
    private const ulong Force32Bit = 1 << 8;
    private const int RouteShift = 9;
    private const ulong RouteMask = 0x1F;
    private const ulong TimerWritable = LevelTriggered | InterruptEnable | Periodic | ValueSet | Force32Bit | (RouteMask << RouteShift);
    private const int FirstRoute = 20;
    private const int Routes = 4;
    private const ulong TimerCapabilities = PeriodicCapable | Is64Bit | (0xFUL << FirstRoute << 32);

    /// <summary>A periodic comparator does not fire more often than this; a guest cannot keep the host busy with it.</summary>
    private const long ShortestPeriod = 20_000;

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly InterruptLine _pit;
    private readonly InterruptLine _rtc;
    private readonly Comparator[] _timers = new Comparator[Timers];
    private ulong _configuration;
    private uint _status;

    /// <summary>The counter while halted; otherwise what to add to the ticks of guest time.</summary>
    private ulong _counterBase;

    /// <param name="pit">The PIT's line, which legacy replacement disconnects.</param>
    /// <param name="rtc">The RTC's line, likewise.</param>
    public Hpet(MachineClock clock, InterruptRouter interrupts, InterruptLine pit, InterruptLine rtc)
    {
        _clock = clock;
        _pit = pit;
        _rtc = rtc;
        for (var i = 0; i < Timers; i++)
        {
            var legacy = i switch
            {
                0 => interrupts.CreateIsaLine(0),
                1 => interrupts.CreateIsaLine(Rtc.Irq),
                _ => null,
            };
            var lines = new InterruptLine[Routes];
            for (var route = 0; route < Routes; route++)
                lines[route] = interrupts.CreateIoApicLine(FirstRoute + route);
            var index = i;
            _timers[i] = new Comparator(legacy, lines, clock.Deadlines.CreateTimer(() => OnTimer(index)));
        }
    }

    private bool IsEnabled => (_configuration & Enable) != 0;

    private bool IsLegacy => (_configuration & LegacyReplacement) != 0;

    private ulong Ticks => (ulong)_clock.Nanoseconds / NanosecondsPerTick;

    private ulong Counter => IsEnabled ? Ticks + _counterBase : _counterBase;

    public void Map(MmioBus mmio) => mmio.Map(DefaultAddress, Size, this, "HPET");

    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_lock)
        {
            // All registers are 64 bits wide; a smaller access sees its part.
            var value = ReadRegister(offset & ~7UL);
            return value >> (int)((offset & 7) * 8);
        }
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        var shift = (int)(offset & 7) * 8;
        var mask = size >= 8 ? ulong.MaxValue : ((1UL << (size * 8)) - 1) << shift;
        lock (_lock)
            WriteRegister(offset & ~7UL, value << shift & mask, mask);
    }

    public HpetState Save()
    {
        lock (_lock)
        {
            return new()
            {
                Configuration = _configuration,
                InterruptStatus = _status,
                Counter = Counter,
                Timers =
                [
                    .. _timers.Select(timer => new HpetTimerState
                    {
                        Configuration = timer.Configuration,
                        Comparator = timer.Value,
                        Period = timer.Period,
                        FsbRoute = timer.FsbRoute,
                        Due = timer.Armed && timer.Deadline <= _clock.Nanoseconds,
                    }),
                ],
            };
        }
    }

    public void Restore(HpetState state)
    {
        StateFormat.Require(state.Version == HpetState.CurrentVersion && state.Timers is { Length: (int)Timers }, "HPET");
        lock (_lock)
        {
            for (var i = 0; i < Timers; i++)
            {
                var timer = _timers[i];
                timer.Configuration = state.Timers[i].Configuration & TimerWritable;
                timer.Value = state.Timers[i].Comparator;
                timer.Period = state.Timers[i].Period;
                timer.FsbRoute = state.Timers[i].FsbRoute;
            }

            _status = state.InterruptStatus & ((1u << (int)Timers) - 1);
            _configuration = state.Configuration & (Enable | LegacyReplacement);
            _counterBase = IsEnabled ? state.Counter - Ticks : state.Counter;
            ConnectLegacy();
            for (var i = 0; i < Timers; i++)
            {
                Drive(i);
                Arm(i, 0);
                if (state.Timers[i].Due && _timers[i].Armed)
                {
                    _timers[i].Deadline = _clock.Nanoseconds;
                    _timers[i].Timer.Arm(_timers[i].Deadline);
                }
            }
        }
    }

    private ulong ReadRegister(ulong register)
    {
        switch (register)
        {
            case Capabilities:
                return BlockId | (FemtosecondsPerTick << 32);
            case GeneralConfiguration:
                return _configuration;
            case InterruptStatus:
                return _status;
            case MainCounter:
                return Counter;
        }

        if (FindTimer(register, out var part) is not { } timer)
            return 0;
        return part switch
        {
            TimerConfiguration => timer.Configuration | TimerCapabilities,
            TimerComparator => timer.Value & timer.SizeMask,
            TimerFsbRoute => timer.FsbRoute,
            _ => 0,
        };
    }

    private void WriteRegister(ulong register, ulong value, ulong mask)
    {
        switch (register)
        {
            case GeneralConfiguration:
                WriteConfiguration((_configuration & ~mask) | value);
                return;
            case InterruptStatus:
                // Write one to clear; the lines of level-triggered timers fall.
                _status &= ~(uint)value;
                for (var i = 0; i < Timers; i++)
                    Drive(i);
                return;
            case MainCounter:
                // Only while halted; a running counter has no defined result, so it is left alone.
                if (!IsEnabled)
                    _counterBase = (_counterBase & ~mask) | value;
                return;
        }

        if (FindTimer(register, out var part) is not { } timer)
            return;
        var index = Array.IndexOf(_timers, timer);
        switch (part)
        {
            case TimerConfiguration:
                timer.Configuration = ((timer.Configuration & ~mask) | value) & TimerWritable;
                if ((timer.Configuration & LevelTriggered) == 0)
                    _status &= ~(1u << index);
                Drive(index);
                break;
            case TimerComparator:
                WriteComparator(timer, value, mask);
                break;
            case TimerFsbRoute:
                timer.FsbRoute = (timer.FsbRoute & ~mask) | value;
                return;
            default:
                return;
        }

        Arm(index, 0);
    }

    private static void WriteComparator(Comparator timer, ulong value, ulong mask)
    {
        // A periodic comparator takes a write as its period; only after VALUE_SET also as its value (2.3.9.2.2).
        if (!timer.IsPeriodic || (timer.Configuration & ValueSet) != 0)
            timer.Value = ((timer.Value & ~mask) | value) & timer.SizeMask;
        if (timer.IsPeriodic)
            timer.Period = ((timer.Period & ~mask) | value) & timer.SizeMask;
        timer.Configuration &= ~ValueSet;
    }

    private void WriteConfiguration(ulong value)
    {
        var counter = Counter;
        _configuration = value & (Enable | LegacyReplacement);
        _counterBase = IsEnabled ? counter - Ticks : counter;
        ConnectLegacy();
        for (var i = 0; i < Timers; i++)
        {
            Drive(i);
            Arm(i, 0);
        }
    }

    private void ConnectLegacy()
    {
        _pit.Connected = !IsLegacy;
        _rtc.Connected = !IsLegacy;
    }

    private Comparator? FindTimer(ulong register, out ulong part)
    {
        var index = (register - FirstTimer) / TimerStride;
        part = (register - FirstTimer) % TimerStride;
        return register >= FirstTimer && index < Timers ? _timers[index] : null;
    }

    /// <summary>Where a timer's interrupt goes as programmed now.</summary>
    private InterruptLine? Route(Comparator timer)
    {
        if (IsLegacy && timer.Legacy is { } legacy)
            return legacy;
        var route = (int)((timer.Configuration >> RouteShift) & RouteMask) - FirstRoute;
        return route is >= 0 and < Routes ? timer.Lines[route] : null;
    }

    /// <summary>Sets the lines of a timer: only a level-triggered one that is enabled holds its own line up.</summary>
    private void Drive(int index)
    {
        var timer = _timers[index];
        var asserts = IsEnabled && (_status & (1u << index)) != 0
            && (timer.Configuration & (InterruptEnable | LevelTriggered)) == (InterruptEnable | LevelTriggered);
        var route = Route(timer);
        timer.Legacy?.Set(asserts && route == timer.Legacy);
        foreach (var line in timer.Lines)
            line.Set(asserts && route == line);
    }

    private void Arm(int index, long earliest)
    {
        var timer = _timers[index];
        if (!IsEnabled || (timer.Configuration & InterruptEnable) == 0)
        {
            timer.Armed = false;
            timer.Timer.Cancel();
            return;
        }

        // The comparator matches when the counter gets there, if need be around the end of its range.
        var distance = (timer.Value - Counter) & timer.SizeMask;
        var ticks = Ticks + distance;
        timer.Armed = true;
        timer.Deadline = ticks < Ticks || ticks > (ulong)MachineClock.Never / NanosecondsPerTick
            ? MachineClock.Never
            : (long)(ticks * NanosecondsPerTick);
        timer.Timer.Arm(Math.Max(timer.Deadline, earliest));
    }

    private void OnTimer(int index)
    {
        lock (_lock)
        {
            var timer = _timers[index];
            var now = _clock.Nanoseconds;
            if (!timer.Armed || now < timer.Deadline)
                return;
            if (timer.IsPeriodic && timer.Period != 0)
            {
                // On to the next multiple of the period that is still to come.
                var passed = (Counter - timer.Value) & timer.SizeMask;
                timer.Value = (timer.Value + (passed / timer.Period + 1) * timer.Period) & timer.SizeMask;
                Arm(index, now + ShortestPeriod);
            }
            else
            {
                // Once around the whole range it would match again.
                timer.Armed = false;
            }

            if ((timer.Configuration & LevelTriggered) != 0)
            {
                _status |= 1u << index;
                Drive(index);
            }
            else
            {
                Route(timer)?.Pulse();
            }
        }
    }

    private sealed class Comparator(InterruptLine? legacy, InterruptLine[] lines, ClockTimer timer)
    {
        public InterruptLine? Legacy => legacy;

        public InterruptLine[] Lines => lines;

        public ClockTimer Timer => timer;

        public ulong Configuration { get; set; }

        public ulong Value { get; set; } = ulong.MaxValue;

        public ulong Period { get; set; }

        public ulong FsbRoute { get; set; }

        public bool Armed { get; set; }

        public long Deadline { get; set; }

        public bool IsPeriodic => (Configuration & Periodic) != 0;

        public ulong SizeMask => (Configuration & Force32Bit) != 0 ? uint.MaxValue : ulong.MaxValue;
    }
}
