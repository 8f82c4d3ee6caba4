namespace Vivarium.Devices;

/// <summary>
/// A PS/2 mouse (IBM PS/2 technical reference, auxiliary device) that a driver can turn into an IntelliMouse with a wheel, or into
/// an IntelliMouse Explorer with five buttons, by the sequences of sample rates that Microsoft defined. Motions add up while
/// the guest has not taken the packet before; changes of buttons are kept apart.
/// </summary>
/// <remarks>Lock order: the controller's lock, then the mouse's. <see cref="Ready"/> is called with neither.</remarks>
public sealed class Ps2Mouse : IPs2Device, IPointerSink
{
    private const int OutputCapacity = 16;
    private const int MotionsCapacity = 16;

    // Commands.
    private const byte ScaleOneToOne = 0xE6;
    private const byte ScaleTwoToOne = 0xE7;
    private const byte SetResolution = 0xE8;
    private const byte RequestStatus = 0xE9;
    private const byte StreamMode = 0xEA;
    private const byte ReadData = 0xEB;
    private const byte ResetWrapMode = 0xEC;
    private const byte WrapMode = 0xEE;
    private const byte RemoteMode = 0xF0;
    private const byte ReadId = 0xF2;
    private const byte SetSampleRate = 0xF3;
    private const byte Enable = 0xF4;
    private const byte Disable = 0xF5;
    private const byte SetDefaults = 0xF6;
    private const byte ResendLast = 0xFE;
    private const byte Reset = 0xFF;

    // Answers.
    private const byte Acknowledge = 0xFA;
    private const byte Resend = 0xFE;
    private const byte SelfTestPassed = 0xAA;

    // Identities.
    private const byte Standard = 0;
    private const byte IntelliMouse = 3;
    private const byte Explorer = 4;

    // First byte of a packet.
    private const byte AlwaysOne = 1 << 3;
    private const byte NegativeX = 1 << 4;
    private const byte NegativeY = 1 << 5;

    // Status.
    private const byte StatusRemote = 1 << 6;
    private const byte StatusEnabled = 1 << 5;
    private const byte StatusScaled = 1 << 4;

    private const byte DefaultRate = 100;
    private const byte DefaultResolution = 2;
    private const byte GreatestResolution = 3;
    private const PointerButtons FirstThree = PointerButtons.Left | PointerButtons.Right | PointerButtons.Middle;

    private readonly Lock _lock = new();
    private readonly Queue<byte> _output = new(OutputCapacity);

    /// <summary>What has not become a packet yet; all but the last end with a change of buttons.</summary>
    private readonly List<Ps2Motion> _motions = new(MotionsCapacity);
    private PointerButtons _buttons;
    private byte _pending;
    private byte _last;
    private byte _id;
    private byte _rate = DefaultRate;
    private byte _resolution = DefaultResolution;
    private bool _scaled;
    private bool _remote;
    private bool _wraps;
    private bool _enabled;

    /// <summary>The three sample rates set last, the newest in the low byte.</summary>
    private int _rates;

    Action? IPs2Device.Ready { get; set; }

    bool IPointerSink.IsAbsolute => false;

    /// <summary>The guest listens to the mouse.</summary>
    public bool IsEnabled
    {
        get
        {
            lock (_lock)
                return _enabled || _remote;
        }
    }

    /// <summary>Nothing waits for the guest: a click now is not lost.</summary>
    public bool IsDrained
    {
        get
        {
            lock (_lock)
                return _output.Count == 0 && _motions.Count == 0;
        }
    }

    public void Move(int x, int y, int wheel, PointerButtons buttons)
    {
        lock (_lock)
        {
            if ((!_enabled && !_remote) || (x == 0 && y == 0 && wheel == 0 && buttons == _buttons))
                return;
            if (_motions.Count != 0 && (buttons == _buttons || _motions.Count == MotionsCapacity))
                _motions[^1] = _motions[^1].Plus(x, y, wheel) with { Buttons = buttons };
            else
                _motions.Add(default(Ps2Motion).Plus(x, y, wheel) with { Buttons = buttons });
            _buttons = buttons;
        }

        ((IPs2Device)this).Ready?.Invoke();
    }

    void IPointerSink.MoveTo(ushort x, ushort y, int wheel, PointerButtons buttons)
    {
        // It does not know where on the screen it is.
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
            if (_output.Count == 0 && _enabled && !_remote && _motions.Count != 0)
                PutPacket();
            if (!_output.TryDequeue(out value))
                return false;
            _last = value;
            return true;
        }
    }

    public Ps2MouseState Save()
    {
        lock (_lock)
        {
            return new()
            {
                Output = [.. _output],
                Motions = [.. _motions],
                Buttons = _buttons,
                PendingCommand = _pending,
                Last = _last,
                Id = _id,
                Rate = _rate,
                Rates = _rates,
                Resolution = _resolution,
                IsScaled = _scaled,
                IsRemote = _remote,
                Wraps = _wraps,
                IsEnabled = _enabled,
            };
        }
    }

    public void Restore(Ps2MouseState state)
    {
        StateFormat.Require(
            state is { Version: Ps2MouseState.CurrentVersion, Output.Length: <= OutputCapacity, Motions.Length: <= MotionsCapacity, Id: Standard or IntelliMouse or Explorer },
            "mouse");
        lock (_lock)
        {
            _output.Clear();
            foreach (var value in state.Output)
                _output.Enqueue(value);
            _motions.Clear();
            _motions.AddRange(state.Motions);
            _buttons = state.Buttons;
            _pending = state.PendingCommand;
            _last = state.Last;
            _id = state.Id;
            _rate = state.Rate;
            _rates = state.Rates;
            _resolution = state.Resolution;
            _scaled = state.IsScaled;
            _remote = state.IsRemote;
            _wraps = state.Wraps;
            _enabled = state.IsEnabled;
        }
    }

    private void Reply(byte value)
    {
        if (_output.Count < OutputCapacity)
            _output.Enqueue(value);
    }

    private void ToDefaults()
    {
        _rate = DefaultRate;
        _resolution = DefaultResolution;
        _scaled = false;
        _remote = false;
        _enabled = false;
        _rates = 0;
        _motions.Clear();
    }

    private void Execute(byte value)
    {
        if (_wraps && value is not (Reset or ResetWrapMode))
        {
            Reply(value);
            return;
        }

        // What the mouse was about to say gives way to the answer.
        if (value != ResendLast)
            _output.Clear();
        if (_pending != 0)
        {
            Complete(value);
            return;
        }

        switch (value)
        {
            case ScaleOneToOne or ScaleTwoToOne:
                _scaled = value == ScaleTwoToOne;
                break;
            case SetResolution or SetSampleRate:
                _pending = value;
                break;
            case RequestStatus:
                Reply(Acknowledge);
                Reply(Status());
                Reply(_resolution);
                Reply(_rate);
                return;
            case StreamMode or RemoteMode:
                _remote = value == RemoteMode;
                _motions.Clear();
                break;
            case ReadData:
                Reply(Acknowledge);
                PutPacket();
                return;
            case ResetWrapMode or WrapMode:
                _wraps = value == WrapMode;
                break;
            case ReadId:
                Reply(Acknowledge);
                Reply(_id);
                return;
            case Enable or Disable:
                _enabled = value == Enable;
                _motions.Clear();
                break;
            case SetDefaults:
                ToDefaults();
                break;
            case ResendLast:
                Reply(_last);
                return;
            case Reset:
                ToDefaults();
                _wraps = false;
                _id = Standard;
                Reply(Acknowledge);
                Reply(SelfTestPassed);
                Reply(_id);
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
        const int knockIntelliMouse = 200 << 16 | 100 << 8 | 80;
        const int knockExplorer = 200 << 16 | 200 << 8 | 80;
        var command = _pending;
        _pending = 0;
        if (command == SetResolution)
        {
            if (value > GreatestResolution)
            {
                Reply(Resend);
                return;
            }

            _resolution = value;
        }
        else
        {
            _rate = value;
            _rates = (_rates << 8 | value) & 0xFF_FFFF;
            _id = _rates switch { knockIntelliMouse when _id == Standard => IntelliMouse, knockExplorer when _id != Standard => Explorer, _ => _id };
        }

        Reply(Acknowledge);
    }

    private byte Status()
    {
        var buttons = (_buttons.HasFlag(PointerButtons.Left) ? 4 : 0) | (_buttons.HasFlag(PointerButtons.Middle) ? 2 : 0) | (_buttons.HasFlag(PointerButtons.Right) ? 1 : 0);
        return (byte)((_remote ? StatusRemote : 0) | (_enabled ? StatusEnabled : 0) | (_scaled ? StatusScaled : 0) | buttons);
    }

    /// <summary>Puts a packet out, with as much of the oldest motion as fits; Y counts upwards in it.</summary>
    private void PutPacket()
    {
        const int most = 255;
        var motion = _motions.Count != 0 ? _motions[0] : new Ps2Motion(0, 0, 0, _buttons);
        var x = Math.Clamp(motion.X, -most, most);
        var y = Math.Clamp(motion.Y, -most, most);
        var wheel = _id switch
        {
            Explorer => Math.Clamp(motion.Wheel, -8, 7),
            IntelliMouse => Math.Clamp(motion.Wheel, -127, 127),
            _ => motion.Wheel,
        };
        if (_motions.Count != 0)
        {
            var rest = motion.Plus(-x, -y, -wheel);
            if (rest.IsMotion)
                _motions[0] = rest;
            else
                _motions.RemoveAt(0);
        }

        Reply((byte)(AlwaysOne | (byte)(motion.Buttons & FirstThree) | (x < 0 ? NegativeX : 0) | (y > 0 ? NegativeY : 0)));
        Reply((byte)x);
        Reply((byte)-y);
        if (_id == IntelliMouse)
            Reply((byte)wheel);
        else if (_id == Explorer)
            Reply((byte)((wheel & 0xF) | (motion.Buttons.HasFlag(PointerButtons.Back) ? 0x10 : 0) | (motion.Buttons.HasFlag(PointerButtons.Forward) ? 0x20 : 0)));
    }
}
