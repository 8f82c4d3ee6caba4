namespace Vivarium.Devices;

/// <summary>
/// One deadline in a machine's <see cref="MachineClock"/>. Arming and cancelling allocate nothing and may be done from
/// any thread, also with a device's lock held. The callback runs without any lock of the clock, and may still come once
/// after a concurrent <see cref="Cancel"/>: a device checks its own state first.
/// </summary>
public sealed class ClockTimer
{
    private readonly MachineClock _clock;

    internal ClockTimer(MachineClock clock, Action callback)
    {
        _clock = clock;
        Callback = callback;
    }

    internal Action Callback { get; }

    internal long Deadline { get; set; }

    /// <summary>Place in the clock's heap; -1 when not armed.</summary>
    internal int HeapIndex { get; set; } = -1;

    /// <summary>Sets or moves the deadline, in guest nanoseconds.</summary>
    public void Arm(long deadline) => _clock.Arm(this, deadline);

    public void Cancel() => _clock.Cancel(this);
}
