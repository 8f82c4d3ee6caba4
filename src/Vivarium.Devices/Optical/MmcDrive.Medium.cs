namespace Vivarium.Devices;

/// <summary>Disc, tray and door lock, and how the host learns of what happens to them.</summary>
internal sealed partial class MmcDrive
{
    /// <summary>What GET EVENT STATUS NOTIFICATION tells of the medium (MMC-6, 6.6.2.5).</summary>
    private enum MediaEvent : byte
    {
        NoChange = 0,
        EjectRequest = 1,
        NewMedia = 2,
        MediaRemoval = 3,
    }

    private const byte MediaClass = 4;

    private bool _resetAttention;
    private bool _mediumAttention;
    private MediaEvent _event;

    /// <summary>The disc that lies in the tray, whether or not the tray is out.</summary>
    public IBlockBackend? Medium { get; private set; }

    /// <summary>The tray is out.</summary>
    public bool IsOpen { get; private set; }

    /// <summary>The host has locked the door.</summary>
    public bool IsLocked { get; private set; }

    /// <summary>The tray has moved by a command of the host: it is out, or in.</summary>
    public Action<bool>? TrayMoved { get; set; }

    private bool IsReady => Medium is not null && !IsOpen;

    private uint BlockCount => IsReady ? (uint)Math.Min(Medium!.Length / BlockSize, uint.MaxValue) : 0;

    /// <summary>Somebody puts a disc in and closes the tray.</summary>
    public void Insert(IBlockBackend medium)
    {
        Medium = medium;
        Close();
    }

    /// <summary>Somebody takes the disc out; the tray stays out.</summary>
    public void Remove()
    {
        Medium = null;
        IsLocked = false;
        Open();
    }

    /// <summary>Somebody presses the eject button of a locked drive: the host is asked to let the disc go.</summary>
    public void RequestEject() => _event = MediaEvent.EjectRequest;

    /// <summary>The drive is reset: the door is unlocked, and the host is told once.</summary>
    public void Reset()
    {
        Sense = Sense.None;
        IsLocked = false;
        _resetAttention = true;
    }

    public MmcDriveState Save() => new()
    {
        IsOpen = IsOpen,
        IsLocked = IsLocked,
        ResetAttention = _resetAttention,
        MediumAttention = _mediumAttention,
        Event = (byte)_event,
        SenseKey = Sense.Key,
        SenseCode = Sense.Code,
        SenseQualifier = Sense.Qualifier,
    };

    public void Restore(MmcDriveState state)
    {
        StateFormat.Require(state.Event <= (byte)MediaEvent.MediaRemoval, "CD drive");
        IsOpen = state.IsOpen;
        IsLocked = state.IsLocked;
        _resetAttention = state.ResetAttention;
        _mediumAttention = state.MediumAttention;
        _event = (MediaEvent)state.Event;
        Sense = new Sense(state.SenseKey, state.SenseCode, state.SenseQualifier);
    }

    /// <summary>A response that was on its way when the state was saved.</summary>
    public void RestoreResponse(ReadOnlySpan<byte> response)
    {
        response.CopyTo(_response);
        _responseLength = response.Length;
    }

    private void Open()
    {
        IsOpen = true;
        _mediumAttention = false;
        _event = MediaEvent.MediaRemoval;
    }

    private void Close()
    {
        IsOpen = false;
        if (Medium is null)
            return;
        _mediumAttention = true;
        _event = MediaEvent.NewMedia;
    }

    private Sense? TakeAttention()
    {
        if (_resetAttention)
        {
            _resetAttention = false;
            return Sense.Reset;
        }

        if (!_mediumAttention)
            return null;
        _mediumAttention = false;
        return Sense.MediumMayHaveChanged;
    }

    /// <summary>START STOP UNIT (MMC-6, 6.42): the bits Start and LoEj.</summary>
    private MmcOutcome StartOrStop(byte operation)
    {
        const byte start = 1, loadEject = 2, powerCondition = 0xF0;
        if ((operation & powerCondition) != 0 || (operation & loadEject) == 0)
            return MmcOutcome.Good;
        var close = (operation & start) != 0;
        if (close != IsOpen)
            return MmcOutcome.Good;
        if (!close && IsLocked)
            return Fail(Sense.RemovalPrevented);
        if (close)
            Close();
        else
            Open();
        TrayMoved?.Invoke(IsOpen);
        return MmcOutcome.Good;
    }

    private MmcOutcome GetEvents(ReadOnlySpan<byte> packet)
    {
        const byte polled = 1, noEvent = 0x80, doorOpen = 1, present = 2;
        const int headerLength = 4, eventLength = 4;
        if ((packet[1] & polled) == 0)
            return Fail(Sense.InvalidField);
        var data = Begin();
        data[3] = 1 << MediaClass;
        if ((packet[4] & 1 << MediaClass) == 0)
        {
            Write16(data, 0, headerLength - 2);
            data[2] = noEvent;
            return Respond(headerLength, Read16(packet, 7));
        }

        Write16(data, 0, headerLength - 2 + eventLength);
        data[2] = MediaClass;
        data[4] = (byte)_event;
        data[5] = (byte)((IsOpen ? doorOpen : 0) | (IsReady ? present : 0));
        if (Read16(packet, 7) > headerLength)
            _event = MediaEvent.NoChange;
        return Respond(headerLength + eventLength, Read16(packet, 7));
    }

    private MmcOutcome TellMechanism(ReadOnlySpan<byte> packet)
    {
        const int length = 8;
        const byte open = 0x10;
        var data = Begin();
        data[1] = IsOpen ? open : (byte)0;
        return Respond(length, Read16(packet, 8));
    }
}
