namespace Vivarium.Devices;

/// <summary>
/// The MC146818 real-time clock with its CMOS memory (Motorola MC146818 data sheet), as PCs have it at ports 0x70 and
/// 0x71 on IRQ 8, with the memory sizes where PC firmware puts them. Time is UTC.
/// </summary>
public sealed class Rtc : IPortDevice
{
    public const ushort Port = 0x70;
    public const int Irq = 8;

    private const int CmosSize = 128;
    private const byte IndexMask = 0x7F;

    // Time registers.
    private const int Seconds = 0x00;
    private const int SecondsAlarm = 0x01;
    private const int Minutes = 0x02;
    private const int MinutesAlarm = 0x03;
    private const int Hours = 0x04;
    private const int HoursAlarm = 0x05;
    private const int DayOfWeek = 0x06;
    private const int DayOfMonth = 0x07;
    private const int Month = 0x08;
    private const int Year = 0x09;

    // Control registers.
    private const int RegisterA = 0x0A;
    private const int RegisterB = 0x0B;
    private const int RegisterC = 0x0C;
    private const int RegisterD = 0x0D;
    private const byte UpdateInProgress = 1 << 7;
    private const byte RateMask = 0x0F;

    /// <summary>32.768 kHz time base, 1024 Hz periodic rate.</summary>
    private const byte RegisterADefault = 0x26;
    private const byte Set = 1 << 7;
    private const byte Periodic = 1 << 6;
    private const byte Alarm = 1 << 5;
    private const byte UpdateEnded = 1 << 4;
    private const byte Binary = 1 << 2;
    private const byte Hours24 = 1 << 1;
    private const byte InterruptRequest = 1 << 7;
    private const byte InterruptSources = Periodic | Alarm | UpdateEnded;
    private const byte ValidRamAndTime = 1 << 7;
    private const byte AlarmDoNotCare = 0xC0;
    private const byte PmBit = 1 << 7;

    // Where PC firmware keeps things.
    private const int Equipment = 0x14;
    private const byte EquipmentCoprocessorAndMouse = 0x06;
    private const int BaseMemoryKilobytes = 0x15;
    private const int ExtendedMemoryKilobytes = 0x17;
    private const int ExtendedMemoryKilobytesCopy = 0x30;
    private const int Century = 0x32;
    private const int MemoryAbove16Megabytes = 0x34;
    private const int MemoryAbove4Gigabytes = 0x5B;

    private const ulong Megabyte = 1 << 20;
    private const ulong SizeUnit = 1 << 16;

    /// <summary>The time registers are about to change from this long before a second on.</summary>
    private const long UpdateWarning = 244_000;

    private const long TimeBase = 32768;
    private const long SecondsPerDay = 86400;

    /// <summary>The years that can be set: what fits into nanoseconds since 1970 with room to add.</summary>
    private const int FirstYear = 1970;
    private const int LastYear = 2199;

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly InterruptLine _irq8;
    private readonly ClockTimer _periodicTimer;
    private readonly ClockTimer _secondTimer;
    private readonly byte[] _cmos = new byte[CmosSize];
    private byte _index;
    private long _offset;
    private long _lastSecond;
    private long _periodicDeadline = MachineClock.Never;

    /// <param name="lowMemory">Bytes of RAM below 4 GB.</param>
    /// <param name="highMemory">Bytes of RAM from 4 GB on.</param>
    public Rtc(MachineClock clock, InterruptLine irq8, ulong lowMemory, ulong highMemory)
    {
        _clock = clock;
        _irq8 = irq8;
        _periodicTimer = clock.Deadlines.CreateTimer(OnPeriodic);
        _secondTimer = clock.Deadlines.CreateTimer(OnSecond);
        _cmos[RegisterA] = RegisterADefault;
        _cmos[RegisterB] = Hours24;
        _cmos[Equipment] = EquipmentCoprocessorAndMouse;
        StoreMemorySizes(lowMemory, highMemory);
        _lastSecond = Now / MachineClock.NanosecondsPerSecond;
    }

    /// <summary>The guest's wall clock, nanoseconds since 1970.</summary>
    private long Now => Math.Max(0, _clock.UnixNanoseconds + _offset);

    private bool IsStopped => (_cmos[RegisterB] & Set) != 0;

    public void Map(PortBus ports) => ports.Map(Port, 2, this, "RTC and CMOS");

    /// <summary>Adds to the equipment byte, which tells firmware what there is.</summary>
    public void AddEquipment(byte bits) => StoreCmos(Equipment, (byte)(_cmos[Equipment] | bits));

    /// <summary>Stores a byte where firmware looks for configuration; not for the clock's own registers.</summary>
    public void StoreCmos(int index, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(index, RegisterD + 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, CmosSize);
        lock (_lock)
            _cmos[index] = value;
    }

    public uint ReadPort(ushort offset, int size)
    {
        // The index register is write-only; a word read covers both ports.
        lock (_lock)
        {
            if (offset == 1)
                return ReadRegister(_index);
            return size == 1 ? 0xFF : 0xFFu | ((uint)ReadRegister(_index) << 8);
        }
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        lock (_lock)
        {
            if (offset == 0)
            {
                _index = (byte)(value & IndexMask);
                if (size == 1)
                    return;
                value >>= 8;
            }

            WriteRegister(_index, (byte)value);
        }
    }

    public RtcState Save()
    {
        lock (_lock)
        {
            Advance();
            return new()
            {
                Index = _index,
                Cmos = [.. _cmos],
                Offset = _offset,
                LastSecond = _lastSecond,
                PeriodicDeadline = _periodicDeadline,
            };
        }
    }

    public void Restore(RtcState state)
    {
        // The offset moves the host's clock to any time from 1970 to 2199, and no further.
        const long LargestOffset = (LastYear + 1 - FirstYear) * 366 * SecondsPerDay;
        StateFormat.Require(
            state.Version == RtcState.CurrentVersion && state.Cmos is { Length: CmosSize } && state.PeriodicDeadline >= 0
            && Math.Abs(state.Offset / MachineClock.NanosecondsPerSecond) <= LargestOffset,
            "RTC");
        lock (_lock)
        {
            _index = (byte)(state.Index & IndexMask);
            state.Cmos.CopyTo(_cmos, 0);
            _offset = state.Offset;
            _lastSecond = Math.Clamp(state.LastSecond, 0, Now / MachineClock.NanosecondsPerSecond);
            ArmSecond();
            _periodicDeadline = PeriodicNanoseconds() == 0 || (_cmos[RegisterB] & Periodic) == 0 ? MachineClock.Never : state.PeriodicDeadline;
            if (_periodicDeadline == MachineClock.Never)
                _periodicTimer.Cancel();
            else
                _periodicTimer.Arm(_periodicDeadline);
            Drive();
        }
    }

    private void StoreMemorySizes(ulong low, ulong high)
    {
        StoreWord(BaseMemoryKilobytes, 640);
        var extended = (ushort)Math.Min(low > Megabyte ? (low - Megabyte) >> 10 : 0, ushort.MaxValue);
        StoreWord(ExtendedMemoryKilobytes, extended);
        StoreWord(ExtendedMemoryKilobytesCopy, extended);
        StoreWord(MemoryAbove16Megabytes, (ushort)Math.Min(low > 16 * Megabyte ? (low - 16 * Megabyte) / SizeUnit : 0, ushort.MaxValue));
        var above = high / SizeUnit;
        StoreWord(MemoryAbove4Gigabytes, (ushort)above);
        _cmos[MemoryAbove4Gigabytes + 2] = (byte)(above >> 16);
    }

    private void StoreWord(int index, ushort value)
    {
        _cmos[index] = (byte)value;
        _cmos[index + 1] = (byte)(value >> 8);
    }

    private byte ReadRegister(int index)
    {
        switch (index)
        {
            case RegisterA:
                var untilSecond = MachineClock.NanosecondsPerSecond - Now % MachineClock.NanosecondsPerSecond;
                var updating = !IsStopped && untilSecond <= UpdateWarning;
                return (byte)(_cmos[RegisterA] | (updating ? UpdateInProgress : 0));
            case RegisterC:
                Advance();
                var flags = Flags();
                _cmos[RegisterC] = 0;
                Drive();
                return flags;
            case RegisterD:
                return ValidRamAndTime;
            case Seconds or Minutes or Hours or DayOfWeek or DayOfMonth or Month or Year or Century:
                if (!IsStopped)
                    StoreTime();
                return _cmos[index];
            default:
                return _cmos[index];
        }
    }

    private void WriteRegister(int index, byte value)
    {
        switch (index)
        {
            case RegisterA:
                _cmos[RegisterA] = (byte)(value & ~UpdateInProgress);
                ArmPeriodic();
                break;
            case RegisterB:
                WriteRegisterB(value);
                break;
            case RegisterC or RegisterD:
                break;
            case Seconds or Minutes or Hours or DayOfWeek or DayOfMonth or Month or Year or Century:
                if (IsStopped)
                {
                    _cmos[index] = value;
                    break;
                }

                StoreTime();
                _cmos[index] = value;
                LoadTime();
                break;
            default:
                _cmos[index] = value;
                break;
        }
    }

    private void WriteRegisterB(byte value)
    {
        Advance();
        var before = _cmos[RegisterB];
        if ((value & Set) != 0 && (before & Set) == 0)
            StoreTime();

        // While the clock is set it does not report updates.
        _cmos[RegisterB] = (value & Set) != 0 ? (byte)(value & ~UpdateEnded) : value;
        if ((value & Set) == 0 && (before & Set) != 0)
            LoadTime();
        if (((value ^ before) & Periodic) != 0)
            ArmPeriodic();
        ArmSecond();
        Drive();
    }

    /// <summary>Puts the current time into the time registers.</summary>
    private void StoreTime()
    {
        var time = DateTime.UnixEpoch.AddTicks(Now / 100);
        _cmos[Seconds] = Encode(time.Second);
        _cmos[Minutes] = Encode(time.Minute);
        _cmos[Hours] = EncodeHour(time.Hour);
        _cmos[DayOfWeek] = Encode((int)time.DayOfWeek + 1);
        _cmos[DayOfMonth] = Encode(time.Day);
        _cmos[Month] = Encode(time.Month);
        _cmos[Year] = Encode(time.Year % 100);
        _cmos[Century] = Encode(time.Year / 100);
    }

    /// <summary>Makes the time registers the current time. What is no date leaves the clock as it was.</summary>
    private void LoadTime()
    {
        var year = Decode(_cmos[Century]) * 100 + Decode(_cmos[Year]);
        int month = Decode(_cmos[Month]), day = Decode(_cmos[DayOfMonth]);
        int hour = DecodeHour(_cmos[Hours]), minute = Decode(_cmos[Minutes]), second = Decode(_cmos[Seconds]);
        if (year is < FirstYear or > LastYear || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month)
            || hour > 23 || minute > 59 || second > 59)
        {
            return;
        }

        var time = new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc);
        _offset = (time - DateTime.UnixEpoch).Ticks * 100 - _clock.UnixNanoseconds;
        _lastSecond = Now / MachineClock.NanosecondsPerSecond;
        ArmSecond();
    }

    private byte Encode(int value) =>
        (_cmos[RegisterB] & Binary) != 0 ? (byte)value : (byte)(value / 10 << 4 | value % 10);

    private int Decode(byte value) =>
        (_cmos[RegisterB] & Binary) != 0 ? value : (value >> 4) * 10 + (value & 0x0F);

    private byte EncodeHour(int hour)
    {
        if ((_cmos[RegisterB] & Hours24) != 0)
            return Encode(hour);
        var hour12 = hour % 12 == 0 ? 12 : hour % 12;
        return (byte)(Encode(hour12) | (hour >= 12 ? PmBit : 0));
    }

    private int DecodeHour(byte value)
    {
        if ((_cmos[RegisterB] & Hours24) != 0)
            return Decode(value);
        var hour = Decode((byte)(value & ~PmBit)) % 12;
        return (value & PmBit) != 0 ? hour + 12 : hour;
    }

    private byte Flags()
    {
        var flags = (byte)(_cmos[RegisterC] & InterruptSources);
        return (flags & _cmos[RegisterB]) != 0 ? (byte)(flags | InterruptRequest) : flags;
    }

    private void Drive() => _irq8.Set((Flags() & InterruptRequest) != 0);

    /// <summary>Sets the flags for the seconds that have passed since the last look.</summary>
    private void Advance()
    {
        var second = Now / MachineClock.NanosecondsPerSecond;
        if (IsStopped || second <= _lastSecond)
        {
            // The host's clock may have been set back.
            _lastSecond = second;
            return;
        }

        _cmos[RegisterC] |= UpdateEnded;
        for (var passed = Math.Max(_lastSecond + 1, second - SecondsPerDay + 1); passed <= second; passed++)
        {
            if (!MatchesAlarm(passed))
                continue;
            _cmos[RegisterC] |= Alarm;
            break;
        }

        _lastSecond = second;
    }

    private bool MatchesAlarm(long second)
    {
        var ofDay = (int)(second % SecondsPerDay);
        byte seconds = _cmos[SecondsAlarm], minutes = _cmos[MinutesAlarm], hours = _cmos[HoursAlarm];
        return (seconds >= AlarmDoNotCare || Decode(seconds) == ofDay % 60)
            && (minutes >= AlarmDoNotCare || Decode(minutes) == ofDay / 60 % 60)
            && (hours >= AlarmDoNotCare || DecodeHour(hours) == ofDay / 3600);
    }

    private void ArmSecond()
    {
        if ((_cmos[RegisterB] & (Alarm | UpdateEnded)) == 0 || IsStopped)
            _secondTimer.Cancel();
        else
            _secondTimer.Arm(_clock.Nanoseconds + MachineClock.NanosecondsPerSecond - Now % MachineClock.NanosecondsPerSecond);
    }

    private void OnSecond()
    {
        lock (_lock)
        {
            Advance();
            ArmSecond();
            Drive();
        }
    }

    /// <summary>Register A's rate as a period; 0 for none.</summary>
    private long PeriodicNanoseconds()
    {
        var rate = _cmos[RegisterA] & RateMask;
        if (rate == 0)
            return 0;

        // The two fastest settings of this time base stand for 256 and 128 Hz.
        var shift = rate <= 2 ? rate + 6 : rate - 1;
        return (MachineClock.NanosecondsPerSecond << shift) / TimeBase;
    }

    private void ArmPeriodic()
    {
        var period = PeriodicNanoseconds();
        if ((_cmos[RegisterB] & Periodic) == 0 || period == 0)
        {
            _periodicDeadline = MachineClock.Never;
            _periodicTimer.Cancel();
            return;
        }

        _periodicDeadline = _clock.Nanoseconds + period;
        _periodicTimer.Arm(_periodicDeadline);
    }

    private void OnPeriodic()
    {
        lock (_lock)
        {
            var now = _clock.Nanoseconds;
            if (now < _periodicDeadline)
                return;
            var period = PeriodicNanoseconds();
            _periodicDeadline += (now - _periodicDeadline) / period * period + period;
            _periodicTimer.Arm(_periodicDeadline);
            _cmos[RegisterC] |= Periodic;
            Drive();
        }
    }
}
