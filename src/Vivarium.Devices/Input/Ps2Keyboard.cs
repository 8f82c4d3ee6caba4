namespace Vivarium.Devices;

/// <summary>
/// A PS/2 keyboard of 102 keys (IBM PS/2 technical reference, keyboard): scan code sets 1 to 3, a buffer of 16 bytes, repetition
/// at the rate the system sets. It repeats keys itself, so that repetitions from outside are dropped.
/// </summary>
/// <remarks>Lock order: the controller's lock, then the keyboard's. <see cref="Ready"/> is called with neither.</remarks>
public sealed class Ps2Keyboard : IPs2Device, IKeyboardSink
{
    private const int BufferSize = 16;
    private const int RepliesCapacity = 16;
    private const int DefaultSet = 2;
    private const int Sets = 3;

    // Commands.
    private const byte SetIndicators = 0xED;
    private const byte Echo = 0xEE;
    private const byte SelectSet = 0xF0;
    private const byte Identify = 0xF2;
    private const byte SetRate = 0xF3;
    private const byte Enable = 0xF4;
    private const byte DisableWithDefaults = 0xF5;
    private const byte SetDefaults = 0xF6;
    private const byte AllTypematic = 0xF7;
    private const byte AllMakeBreak = 0xF8;
    private const byte AllMake = 0xF9;
    private const byte AllTypematicMakeBreak = 0xFA;
    private const byte KeyTypematic = 0xFB;
    private const byte KeyMakeBreak = 0xFC;
    private const byte KeyMake = 0xFD;
    private const byte ResendLast = 0xFE;
    private const byte Reset = 0xFF;

    // Answers.
    private const byte Acknowledge = 0xFA;
    private const byte Resend = 0xFE;
    private const byte SelfTestPassed = 0xAA;
    private const byte Id1 = 0xAB;
    private const byte Id2 = 0x83;

    /// <summary>10.9 characters per second after half a second.</summary>
    private const byte DefaultRate = 0x2B;
    private const byte IndicatorMask = 7;

    // How a key of set 3 behaves.
    private const byte Repeats = 1;
    private const byte Breaks = 2;

    private static readonly Key[] s_makeBreak = [Key.CapsLock, Key.LeftShift, Key.RightShift, Key.LeftControl, Key.LeftAlt];
    private static readonly Key[] s_make =
    [
        Key.RightAlt, Key.RightControl, Key.Insert, Key.Home, Key.End, Key.PageUp, Key.PageDown, Key.NumLock,
        Key.Keypad0, Key.Keypad1, Key.Keypad2, Key.Keypad3, Key.Keypad4, Key.Keypad5, Key.Keypad6, Key.Keypad7, Key.Keypad8, Key.Keypad9,
        Key.KeypadDivide, Key.KeypadMultiply, Key.KeypadMinus, Key.KeypadPeriod, Key.KeypadEnter, Key.Escape, Key.PrintScreen, Key.ScrollLock, Key.Pause,
        Key.F1, Key.F2, Key.F3, Key.F4, Key.F5, Key.F6, Key.F7, Key.F8, Key.F9, Key.F10, Key.F11, Key.F12,
    ];

    private readonly Lock _lock = new();
    private readonly MachineClock _clock;
    private readonly ClockTimer _repetition;
    private readonly Queue<byte> _buffer = new(BufferSize);
    private readonly Queue<byte> _replies = new(RepliesCapacity);
    private readonly bool[] _down = new bool[256];
    private readonly byte[] _behaviour = new byte[256];
    private byte _pending;
    private byte _last;
    private byte _rate;
    private int _set;
    private bool _scans;
    private byte _indicators;

    /// <summary>The key that repeats, and when next.</summary>
    private Key _repeated;
    private long _repeatAt = MachineClock.Never;

    public Ps2Keyboard(MachineClock clock)
    {
        _clock = clock;
        _repetition = clock.Deadlines.CreateTimer(OnRepetition);
        ToDefaults();
        _scans = true;
    }

    /// <summary>The lamps as the guest set them: bit 0 Scroll Lock, bit 1 Num Lock, bit 2 Caps Lock.</summary>
    public byte Indicators => Volatile.Read(ref _indicators);

    /// <summary>Nothing waits for the guest: what is pressed now is not lost.</summary>
    public bool IsDrained
    {
        get
        {
            lock (_lock)
                return _buffer.Count == 0 && _replies.Count == 0;
        }
    }

    /// <summary>The guest listens to keys.</summary>
    public bool IsScanning
    {
        get
        {
            lock (_lock)
                return _scans;
        }
    }

    Action? IPs2Device.Ready { get; set; }

    private Action? Ready => ((IPs2Device)this).Ready;

    public void SetKey(Key key, bool down)
    {
        lock (_lock)
        {
            if (key == Key.None || _down[(byte)key] == down)
                return;
            _down[(byte)key] = down;
            if (!_scans)
                return;
            if (down)
                StartRepeating(key);
            else if (key == _repeated)
                StopRepeating();
            Send(Chosen(key), down);
        }

        Ready?.Invoke();
    }

    void IPs2Device.Receive(byte value)
    {
        lock (_lock)
            Execute(value);
    }

    bool IPs2Device.TryTake(out byte value)
    {
        lock (_lock)
        {
            if (!_replies.TryDequeue(out value) && !_buffer.TryDequeue(out value))
                return false;
            _last = value;
            return true;
        }
    }

    public Ps2KeyboardState Save()
    {
        lock (_lock)
        {
            return new()
            {
                Buffer = [.. _buffer],
                Replies = [.. _replies],
                Down = [.. Enumerable.Range(0, _down.Length).Where(key => _down[key]).Select(key => (Key)key)],
                Behaviour = [.. _behaviour],
                PendingCommand = _pending,
                Last = _last,
                Rate = _rate,
                Set = _set,
                Scans = _scans,
                Indicators = _indicators,
                Repeated = _repeated,
                RepeatAt = _repeatAt,
            };
        }
    }

    public void Restore(Ps2KeyboardState state)
    {
        StateFormat.Require(
            state is { Version: Ps2KeyboardState.CurrentVersion, Buffer.Length: <= BufferSize, Replies.Length: <= RepliesCapacity, Down: not null, Behaviour.Length: 256, Set: >= 1 and <= Sets },
            "keyboard");
        lock (_lock)
        {
            Fill(_buffer, state.Buffer);
            Fill(_replies, state.Replies);
            _down.AsSpan().Clear();
            foreach (var key in state.Down!)
                _down[(byte)key] = true;
            state.Behaviour.CopyTo(_behaviour, 0);
            _pending = state.PendingCommand;
            _last = state.Last;
            _rate = state.Rate;
            _set = state.Set;
            _scans = state.Scans;
            _indicators = (byte)(state.Indicators & IndicatorMask);
            _repeated = state.Repeated;
            _repeatAt = state.RepeatAt;
            if (_repeatAt != MachineClock.Never)
                _repetition.Arm(_repeatAt);
        }
    }

    private static void Fill(Queue<byte> queue, byte[] bytes)
    {
        queue.Clear();
        foreach (var value in bytes)
            queue.Enqueue(value);
    }

    private void ToDefaults()
    {
        _buffer.Clear();
        _pending = 0;
        _rate = DefaultRate;
        _set = DefaultSet;
        _indicators = 0;
        _behaviour.AsSpan().Fill(Repeats);
        foreach (var key in s_makeBreak)
            _behaviour[ScanCodes.InSet3(key)] = Breaks;
        foreach (var key in s_make)
            _behaviour[ScanCodes.InSet3(key)] = 0;
        StopRepeating();
    }

    private void Reply(byte value)
    {
        if (_replies.Count < RepliesCapacity)
            _replies.Enqueue(value);
    }

    private void Execute(byte value)
    {
        // A command instead of what belongs to the one before ends that.
        if (_pending != 0 && value < SetIndicators)
        {
            Complete(value);
            return;
        }

        _pending = 0;
        switch (value)
        {
            case Echo:
                Reply(Echo);
                return;
            case ResendLast:
                Reply(_last);
                return;
            case SetIndicators or SelectSet or SetRate or KeyTypematic or KeyMakeBreak or KeyMake:
                _pending = value;
                break;
            case Identify:
                Reply(Acknowledge);
                Reply(Id1);
                Reply(Id2);
                return;
            case Enable:
                _buffer.Clear();
                _scans = true;
                break;
            case DisableWithDefaults:
                ToDefaults();
                _scans = false;
                break;
            case SetDefaults:
                ToDefaults();
                break;
            case AllTypematic or AllMakeBreak or AllMake or AllTypematicMakeBreak:
                _behaviour.AsSpan().Fill(value switch { AllTypematic => Repeats, AllMakeBreak => Breaks, AllMake => 0, _ => Repeats | Breaks });
                break;
            case Reset:
                _replies.Clear();
                ToDefaults();
                _scans = true;
                Reply(Acknowledge);
                Reply(SelfTestPassed);
                return;
            default:
                Reply(Resend);
                return;
        }

        Reply(Acknowledge);
    }

    /// <summary>The byte that belongs to a command.</summary>
    private void Complete(byte value)
    {
        var command = _pending;
        _pending = 0;
        switch (command)
        {
            case SetIndicators:
                Volatile.Write(ref _indicators, (byte)(value & IndicatorMask));
                break;
            case SetRate:
                _rate = (byte)(value & 0x7F);
                break;
            case SelectSet when value == 0:
                Reply(Acknowledge);
                Reply((byte)_set);
                return;
            case SelectSet when value <= Sets:
                _set = value;
                _buffer.Clear();
                break;
            case KeyTypematic or KeyMakeBreak or KeyMake:
                // More keys may follow, until a command does.
                _behaviour[value] = command switch { KeyTypematic => Repeats, KeyMakeBreak => Breaks, _ => 0 };
                _pending = command;
                break;
            default:
                Reply(Resend);
                return;
        }

        Reply(Acknowledge);
    }

    /// <summary>Alt makes System Request of Print Screen.</summary>
    private Key Chosen(Key key) => key == Key.PrintScreen && (_down[(byte)Key.LeftAlt] || _down[(byte)Key.RightAlt]) ? Key.SystemRequest : key;

    /// <summary>What has no room in the buffer is lost, and a mark takes the place of the last byte (overrun).</summary>
    private void Send(Key key, bool down)
    {
        var behaviour = _set == Sets ? _behaviour[ScanCodes.InSet3(key)] : Breaks;
        if (!down && (behaviour & Breaks) == 0)
            return;
        Span<byte> sequence = stackalloc byte[ScanCodes.LongestSequence];
        var control = _down[(byte)Key.LeftControl] || _down[(byte)Key.RightControl];
        sequence = sequence[..ScanCodes.Write(_set, key, down, control, sequence)];
        if (_buffer.Count + sequence.Length > BufferSize - 1)
        {
            const byte overrun = 0x00, overrunInSet1 = 0xFF;
            if (_buffer.Count < BufferSize)
                _buffer.Enqueue(_set == 1 ? overrunInSet1 : overrun);
            return;
        }

        foreach (var value in sequence)
            _buffer.Enqueue(value);
    }

    private void StartRepeating(Key key)
    {
        if (key == Key.Pause || (_set == Sets && (_behaviour[ScanCodes.InSet3(key)] & Repeats) == 0))
        {
            StopRepeating();
            return;
        }

        // Bits 6:5: the delay in units of 250 ms.
        _repeated = key;
        RepeatIn(((_rate >> 5 & 3) + 1) * 250_000_000L);
    }

    private void StopRepeating()
    {
        _repeated = Key.None;
        _repeatAt = MachineClock.Never;
        _repetition.Cancel();
    }

    private void RepeatIn(long nanoseconds)
    {
        _repeatAt = _clock.Nanoseconds + nanoseconds;
        _repetition.Arm(_repeatAt);
    }

    private void OnRepetition()
    {
        lock (_lock)
        {
            if (_repeatAt > _clock.Nanoseconds)
                return;

            // The period is (8 + A) * 2^B / 240 s, A in bits 2:0 and B in bits 4:3.
            RepeatIn((8 + (_rate & 7) << (_rate >> 3 & 3)) * MachineClock.NanosecondsPerSecond / 240);

            // A guest that does not look gets no more of the same.
            if (_buffer.Count == 0)
                Send(Chosen(_repeated), down: true);
        }

        Ready?.Invoke();
    }
}
