namespace Vivarium.Devices;

/// <summary>
/// One device's wire to the interrupt controllers. Several devices may have a line to the same input; it is high while
/// any of them is (the controllers see the logical level, so that it is an OR for either polarity).
/// </summary>
public sealed class InterruptLine
{
    private readonly InterruptRouter _router;
    private readonly int _isaIrq;
    private readonly int _pin;
    private bool _level;
    private bool _connected = true;

    internal InterruptLine(InterruptRouter router, int isaIrq, int pin)
    {
        _router = router;
        _isaIrq = isaIrq;
        _pin = pin;
    }

    public bool Level => Volatile.Read(ref _level);

    /// <summary>A disconnected line reaches no controller, as when the HPET replaces the PIT and the RTC.</summary>
    public bool Connected
    {
        get => Volatile.Read(ref _connected);
        set
        {
            lock (_router.Lock)
            {
                if (_connected == value)
                    return;
                if (_level)
                    _router.Drive(_isaIrq, _pin, value);
                _connected = value;
            }
        }
    }

    public void Set(bool level)
    {
        // Devices recompute their line at every register access; most of the time it does not change.
        if (Volatile.Read(ref _level) == level)
            return;
        lock (_router.Lock)
        {
            if (_level == level)
                return;
            _level = level;
            if (_connected)
                _router.Drive(_isaIrq, _pin, level);
        }
    }

    public void Raise() => Set(true);

    public void Lower() => Set(false);

    /// <summary>A rising edge, whatever the level was; the line is low afterwards.</summary>
    public void Pulse()
    {
        lock (_router.Lock)
        {
            Set(false);
            Set(true);
            Set(false);
        }
    }
}
