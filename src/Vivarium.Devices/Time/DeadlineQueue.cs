namespace Vivarium.Devices;

/// <summary>Deadlines in a machine's time, and what to call when they have come.</summary>
/// <remarks>
/// A queue has no thread. Whoever waits (a halted vCPU, a timer thread) sleeps until <see cref="NextDeadline"/> and
/// calls <see cref="RunDue"/>; <see cref="DeadlineMoved"/> tells it that it has to wake earlier.
/// The queue's lock is a leaf: it is held across no callback.
/// </remarks>
public sealed class DeadlineQueue(MachineClock clock)
{
    private readonly Lock _lock = new();
    private ClockTimer[] _heap = new ClockTimer[4];
    private int _armed;
    private int _timers;
    private long _nextDeadline = MachineClock.Never;

    /// <summary>The earliest deadline in guest nanoseconds, or <see cref="MachineClock.Never"/>.</summary>
    public long NextDeadline => Volatile.Read(ref _nextDeadline);

    /// <summary>
    /// Called, on the thread that armed a timer, when <see cref="NextDeadline"/> became earlier. A device's lock may be
    /// held: it may only wake a thread.
    /// </summary>
    public Action? DeadlineMoved { get; set; }

    /// <summary>Makes a timer for a device, not armed. Done once per timer, when the machine is built.</summary>
    public ClockTimer CreateTimer(Action callback)
    {
        ArgumentNullException.ThrowIfNull(callback);
        lock (_lock)
        {
            // Arming allocates nothing because there is always room for every timer.
            if (++_timers > _heap.Length)
                Array.Resize(ref _heap, _heap.Length * 2);
            return new ClockTimer(this, callback);
        }
    }

    /// <summary>Calls what is due, on this thread. Any number of threads may do so; each deadline is called by one.</summary>
    public void RunDue()
    {
        while (true)
        {
            if (NextDeadline == MachineClock.Never)
                return;
            var now = clock.Nanoseconds;
            if (NextDeadline > now)
                return;
            Action callback;
            lock (_lock)
            {
                if (_armed == 0 || _heap[0].Deadline > now)
                    return;
                callback = _heap[0].Callback;
                Remove(_heap[0]);
                PublishNextDeadline();
            }

            callback();
        }
    }

    internal void Arm(ClockTimer timer, long deadline)
    {
        bool earlier;
        lock (_lock)
        {
            var before = _nextDeadline;
            if (timer.HeapIndex < 0)
            {
                timer.HeapIndex = _armed++;
                _heap[timer.HeapIndex] = timer;
            }

            timer.Deadline = deadline;
            Settle(timer);
            PublishNextDeadline();
            earlier = _nextDeadline < before;
        }

        if (earlier)
            DeadlineMoved?.Invoke();
    }

    internal void Cancel(ClockTimer timer)
    {
        lock (_lock)
        {
            if (timer.HeapIndex < 0)
                return;
            Remove(timer);
            PublishNextDeadline();
        }
    }

    private void PublishNextDeadline() => Volatile.Write(ref _nextDeadline, _armed == 0 ? MachineClock.Never : _heap[0].Deadline);

    private void Remove(ClockTimer timer)
    {
        var hole = timer.HeapIndex;
        var moved = _heap[--_armed];
        _heap[_armed] = null!;
        timer.HeapIndex = -1;
        if (moved == timer)
            return;
        moved.HeapIndex = hole;
        _heap[hole] = moved;
        Settle(moved);
    }

    /// <summary>Moves a timer up or down to where its deadline belongs in the binary heap.</summary>
    private void Settle(ClockTimer timer)
    {
        var index = timer.HeapIndex;
        while (index > 0)
        {
            var parent = (index - 1) / 2;
            if (_heap[parent].Deadline <= timer.Deadline)
                break;
            Place(_heap[parent], index);
            index = parent;
        }

        while (true)
        {
            var child = 2 * index + 1;
            if (child >= _armed)
                break;
            if (child + 1 < _armed && _heap[child + 1].Deadline < _heap[child].Deadline)
                child++;
            if (_heap[child].Deadline >= timer.Deadline)
                break;
            Place(_heap[child], index);
            index = child;
        }

        Place(timer, index);
    }

    private void Place(ClockTimer timer, int index)
    {
        timer.HeapIndex = index;
        _heap[index] = timer;
    }
}
