namespace Vivarium.Devices;

/// <summary>
/// One deadline in a <see cref="DeadlineQueue"/>. Arming and cancelling allocate nothing and may be done from
/// any thread, also with a device's lock held. The callback runs without any lock of the queue, and may still come once
/// after a concurrent <see cref="Cancel"/>: a device checks its own state first.
/// </summary>
public sealed class ClockTimer
{
    private readonly DeadlineQueue _queue;

    internal ClockTimer(DeadlineQueue queue, Action callback)
    {
        _queue = queue;
        Callback = callback;
    }

    internal Action Callback { get; }

    internal long Deadline { get; set; }

    /// <summary>Place in the queue's heap; -1 when not armed.</summary>
    internal int HeapIndex { get; set; } = -1;

    /// <summary>Sets or moves the deadline, in guest nanoseconds.</summary>
    public void Arm(long deadline) => _queue.Arm(this, deadline);

    public void Cancel() => _queue.Cancel(this);
}
