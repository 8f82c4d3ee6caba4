namespace Vivarium.Devices;

/// <summary>
/// One counter of the 8254. Nothing counts: output and count are worked out from the tick at which counting began.
/// </summary>
internal sealed class PitChannel(bool gate)
{
    // Control word.
    private const int AccessShift = 4;
    private const int LatchCommand = 0;
    private const int AccessLow = 1;
    private const int AccessHigh = 2;
    private const int AccessLowHigh = 3;
    private const int ModeShift = 1;
    private const int BcdBit = 1;

    // Modes.
    private const int InterruptOnTerminalCount = 0;
    private const int OneShot = 1;
    private const int RateGenerator = 2;
    private const int SquareWave = 3;
    private const int SoftwareStrobe = 4;
    private const int HardwareStrobe = 5;

    // Status byte.
    private const int StatusOutput = 1 << 7;
    private const int StatusNullCount = 1 << 6;

    private const int BinaryRange = 0x10000;
    private const int BcdRange = 10000;

    /// <summary>Undefined at power-on; in this one, the output rests high and waits for a count.</summary>
    private int _mode = RateGenerator;
    private int _access = AccessLowHigh;
    private bool _bcd;

    /// <summary>A count has been written (and, in modes 1 and 5, the gate has triggered): <see cref="_start"/> is meant.</summary>
    private bool _loaded;

    /// <summary>A count has been written since the control word: in modes 1 and 5 the gate may trigger.</summary>
    private bool _counted;

    private int _count = BinaryRange;
    private int _nextCount;
    private long _nextStart;
    private long _start;
    private long _stoppedAt = -1;
    private bool _writeHighNext;
    private byte _writeLow;
    private bool _readHighNext;
    private bool _countLatched;
    private ushort _latchedCount;
    private bool _statusLatched;
    private byte _latchedStatus;
    private bool _nullCount;

    public bool Gate { get; private set; } = gate;

    private bool IsPeriodic => _mode is RateGenerator or SquareWave;

    private bool IsTriggered => _mode is OneShot or HardwareStrobe;

    private int Range => _bcd ? BcdRange : BinaryRange;

    public void WriteControl(byte value, long now)
    {
        var access = (value >> AccessShift) & 3;
        if (access == LatchCommand)
        {
            LatchCount(now);
            return;
        }

        _access = access;
        var mode = (value >> ModeShift) & 7;
        _mode = mode > HardwareStrobe ? mode & 3 : mode;
        _bcd = (value & BcdBit) != 0;
        _loaded = false;
        _counted = false;
        _nextCount = 0;
        _nullCount = true;
        _writeHighNext = false;
        _readHighNext = false;
        _countLatched = false;
        _statusLatched = false;
        _stoppedAt = Gate ? -1 : now;
        _start = now;
    }

    public void Write(byte value, long now)
    {
        Advance(now);
        switch (_access)
        {
            case AccessLow:
                Load(value, now);
                break;
            case AccessHigh:
                Load(value << 8, now);
                break;
            default:
                if (!_writeHighNext)
                {
                    _writeLow = value;
                    _writeHighNext = true;

                    // The first byte stops mode 0 and takes its output low.
                    if (_mode == InterruptOnTerminalCount)
                        _loaded = false;
                }
                else
                {
                    _writeHighNext = false;
                    Load(_writeLow | (value << 8), now);
                }

                break;
        }
    }

    public byte Read(long now)
    {
        if (_statusLatched)
        {
            _statusLatched = false;
            return _latchedStatus;
        }

        var count = _countLatched ? _latchedCount : CountBits(now);
        if (_access == AccessLowHigh)
        {
            _readHighNext = !_readHighNext;
            if (_readHighNext)
                return (byte)count;
            _countLatched = false;
            return (byte)(count >> 8);
        }

        _countLatched = false;
        return (byte)(_access == AccessHigh ? count >> 8 : count);
    }

    public void SetGate(bool level, long now)
    {
        if (level == Gate)
            return;
        Advance(now);
        Gate = level;
        if (IsTriggered)
        {
            if (level && _counted)
                Begin(now);
            return;
        }

        if (!level)
        {
            _stoppedAt = now;
            return;
        }

        // Modes 2 and 3 begin anew, modes 0 and 4 go on.
        var stoppedAt = _stoppedAt;
        _stoppedAt = -1;
        if (!IsPeriodic)
            _start += now - stoppedAt;
        else if (_loaded)
            Begin(now);
    }

    public void LatchCount(long now)
    {
        if (_countLatched)
            return;
        _latchedCount = CountBits(now);
        _countLatched = true;
    }

    public void LatchStatus(long now)
    {
        if (_statusLatched)
            return;
        Advance(now);
        _latchedStatus = (byte)((Output(now) ? StatusOutput : 0)
            | (_nullCount ? StatusNullCount : 0)
            | (_access << AccessShift)
            | (_mode << ModeShift)
            | (_bcd ? BcdBit : 0));
        _statusLatched = true;
    }

    public bool Output(long now)
    {
        Advance(now);
        if (!_loaded)
            return _mode != InterruptOnTerminalCount;
        var elapsed = Elapsed(now);
        return _mode switch
        {
            InterruptOnTerminalCount or OneShot => elapsed >= _count,
            RateGenerator => _stoppedAt >= 0 || elapsed % _count != _count - 1,
            SquareWave => _stoppedAt >= 0 || elapsed % _count < (_count + 1) / 2,
            _ => elapsed != _count,
        };
    }

    /// <summary>The first tick after <paramref name="now"/> at which the output goes from low to high.</summary>
    public long NextRisingEdge(long now)
    {
        Advance(now);
        if (!_loaded || (_stoppedAt >= 0 && !IsTriggered))
            return MachineClock.Never;
        var edge = _mode switch
        {
            InterruptOnTerminalCount or OneShot => _start + _count,
            RateGenerator or SquareWave => _nextCount != 0 ? _nextStart : _start + (Elapsed(now) / _count + 1) * _count,
            _ => _start + _count + 1,
        };
        return edge > now ? edge : MachineClock.Never;
    }

    public PitChannelState Save() => new()
    {
        Mode = (byte)_mode,
        Access = (byte)_access,
        Bcd = _bcd,
        Gate = Gate,
        Loaded = _loaded,
        Counted = _counted,
        Count = _count,
        NextCount = _nextCount,
        NextStart = _nextStart,
        Start = _start,
        StoppedAt = _stoppedAt,
        WriteHighNext = _writeHighNext,
        WriteLow = _writeLow,
        ReadHighNext = _readHighNext,
        CountLatched = _countLatched,
        LatchedCount = _latchedCount,
        StatusLatched = _statusLatched,
        LatchedStatus = _latchedStatus,
        NullCount = _nullCount,
    };

    public void Restore(PitChannelState state, long now)
    {
        StateFormat.Require(
            state.Mode <= HardwareStrobe && state.Access is >= AccessLow and <= AccessLowHigh
            && state.Count is >= 1 and <= BinaryRange && state.NextCount is >= 0 and <= BinaryRange
            && state.Start >= 0 && state.Start <= now && state.StoppedAt >= -1 && state.StoppedAt <= now
            && state.NextStart >= 0 && state.NextStart <= now + BinaryRange
            && (state.StoppedAt < 0 || state.StoppedAt >= state.Start),
            "8254");
        _mode = state.Mode;
        _access = state.Access;
        _bcd = state.Bcd;
        Gate = state.Gate;
        _loaded = state.Loaded;
        _counted = state.Counted;
        _count = state.Count;
        _nextCount = state.NextCount;
        _nextStart = state.NextStart;
        _start = state.Start;
        _stoppedAt = state.StoppedAt;
        _writeHighNext = state.WriteHighNext;
        _writeLow = state.WriteLow;
        _readHighNext = state.ReadHighNext;
        _countLatched = state.CountLatched;
        _latchedCount = state.LatchedCount;
        _statusLatched = state.StatusLatched;
        _latchedStatus = state.LatchedStatus;
        _nullCount = state.NullCount;
    }

    private long Elapsed(long now) => (_stoppedAt >= 0 && !IsTriggered ? _stoppedAt : now) - _start;

    /// <summary>A new count of modes 2 and 3 takes effect when the period under way ends.</summary>
    private void Advance(long now)
    {
        if (!IsPeriodic || _nextCount == 0 || now < _nextStart || _stoppedAt >= 0)
            return;
        _start = _nextStart;
        _count = _nextCount;
        _nextCount = 0;
        _nullCount = false;
    }

    private void Load(int bits, long now)
    {
        var count = _bcd ? FromBcd(bits) : bits;
        if (count == 0)
            count = Range;
        if (IsPeriodic && count == 1)
            count = 2;

        if (IsPeriodic && _loaded && _stoppedAt < 0)
        {
            _nextCount = count;
            _nextStart = now - Elapsed(now) % _count + _count;
            _nullCount = true;
            return;
        }

        _counted = true;
        if (IsTriggered)
        {
            // Waits for the gate's next rising edge.
            _nextCount = count;
            _nullCount = true;
            return;
        }

        _nextCount = count;
        Begin(now);
    }

    private void Begin(long now)
    {
        if (_nextCount != 0)
            _count = _nextCount;
        _nextCount = 0;
        _start = now;
        _loaded = true;
        _nullCount = false;
        _stoppedAt = Gate || IsTriggered ? -1 : now;
    }

    private ushort CountBits(long now)
    {
        Advance(now);
        var elapsed = _loaded ? Elapsed(now) : 0;
        long count;
        if (_mode == RateGenerator)
        {
            count = _count - elapsed % _count;
        }
        else if (_mode == SquareWave)
        {
            // Counts down by two, twice a period.
            var half = (_count + 1) / 2;
            var position = elapsed % _count;
            count = (_count & ~1) - 2 * (position < half ? position : position - half);
        }
        else
        {
            count = (_count - elapsed) % Range;
            if (count < 0)
                count += Range;
        }

        count %= Range;
        return _bcd ? ToBcd((int)count) : (ushort)count;
    }

    private static int FromBcd(int bits) =>
        ((bits & 0xF) + 10 * ((bits >> 4) & 0xF) + 100 * ((bits >> 8) & 0xF) + 1000 * ((bits >> 12) & 0xF)) % BcdRange;

    private static ushort ToBcd(int value) =>
        (ushort)(value % 10 | (value / 10 % 10 << 4) | (value / 100 % 10 << 8) | (value / 1000 % 10 << 12));
}
