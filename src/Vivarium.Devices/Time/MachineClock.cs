namespace Vivarium.Devices;

/// <summary>
/// A machine's time, the only one its devices know: monotonic guest nanoseconds since power-on that can be paused and
/// saved, the wall clock for the RTC, the guest's TSC, and a queue of deadlines. A new clock is paused.
/// </summary>
/// <remarks>
/// The clock has no thread. Whoever waits (a halted vCPU, a timer thread) sleeps until <see cref="NextDeadline"/> and
/// calls <see cref="RunDue"/>; <see cref="DeadlineMoved"/> tells it that it has to wake earlier.
/// The clock's lock is a leaf: it is held across no callback but <see cref="Pausing"/> and <see cref="Resuming"/>.
/// </remarks>
public sealed class MachineClock(TimeProvider? host = null)
{
    public const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>What <see cref="NextDeadline"/> is when nothing is armed.</summary>
    public const long Never = long.MaxValue;

    private readonly Lock _lock = new();
    private readonly TimeProvider _host = host ?? TimeProvider.System;
    private ClockTimer[] _heap = new ClockTimer[16];
    private int _armed;
    private int _timers;
    private long _nextDeadline = Never;

    /// <summary>One reference, so that readers without the lock see a consistent pair.</summary>
    private volatile Epoch _epoch = new(false, 0);

    /// <param name="Base">Guest time while paused; otherwise what to add to host nanoseconds to get guest time.</param>
    private sealed record Epoch(bool Running, long Base);

    /// <summary>Guest time: nanoseconds since power-on, without the time spent paused.</summary>
    public long Nanoseconds
    {
        get
        {
            var epoch = _epoch;
            return epoch.Running ? epoch.Base + HostNanoseconds : epoch.Base;
        }
    }

    /// <summary>The wall clock, in nanoseconds since 1970-01-01 UTC. It does not stop when the machine is paused.</summary>
    public long UnixNanoseconds => (_host.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100;

    /// <summary>The frequency of the guest's TSC in Hz; set by the machine before it starts.</summary>
    public ulong TscFrequency { get; set; } = NanosecondsPerSecond;

    /// <summary>Reads the guest's TSC (the host's plus the guest's offset); set by the machine before it starts. Without it the TSC follows guest time.</summary>
    public Func<ulong>? TscReader { get; set; }

    /// <summary>The guest's TSC now.</summary>
    public ulong Tsc => TscReader is { } read ? read() : (ulong)((UInt128)(ulong)Nanoseconds * TscFrequency / NanosecondsPerSecond);

    public bool IsPaused => !_epoch.Running;

    /// <summary>The earliest deadline in guest nanoseconds, or <see cref="Never"/>.</summary>
    public long NextDeadline => Volatile.Read(ref _nextDeadline);

    /// <summary>
    /// Called, on the thread that armed a timer, when <see cref="NextDeadline"/> became earlier. A device's lock may be
    /// held: it may only wake a thread.
    /// </summary>
    public Action? DeadlineMoved { get; set; }

    /// <summary>Called before guest time stops. The clock's lock is held: it may only read the time.</summary>
    internal Action? Pausing { get; set; }

    /// <summary>Called before guest time runs, likewise: nobody who waits for that goes on earlier.</summary>
    internal Action? Resuming { get; set; }

    private long HostNanoseconds
    {
        get
        {
            var timestamp = _host.GetTimestamp();
            var frequency = _host.TimestampFrequency;
            return frequency == NanosecondsPerSecond ? timestamp : (long)((Int128)timestamp * NanosecondsPerSecond / frequency);
        }
    }

    /// <summary>Lets guest time run.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            if (!_epoch.Running)
            {
                Resuming?.Invoke();
                _epoch = new Epoch(true, _epoch.Base - HostNanoseconds);
            }
        }

        DeadlineMoved?.Invoke();
    }

    /// <summary>Stops guest time.</summary>
    public void Pause()
    {
        lock (_lock)
        {
            if (_epoch.Running)
            {
                Pausing?.Invoke();
                _epoch = new Epoch(false, _epoch.Base + HostNanoseconds);
            }
        }
    }

    /// <summary>The guest time at which the TSC reaches <paramref name="tsc"/>; for a past value, now.</summary>
    public long NanosecondsAtTsc(ulong tsc)
    {
        var now = Nanoseconds;
        var distance = unchecked((long)(tsc - Tsc));
        if (distance <= 0)
            return now;
        var nanoseconds = ((UInt128)(ulong)distance * NanosecondsPerSecond + TscFrequency - 1) / TscFrequency;
        return nanoseconds > (UInt128)(Never - now) ? Never : now + (long)nanoseconds;
    }

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
            if (NextDeadline == Never)
                return;
            var now = Nanoseconds;
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

    public MachineClockState Save() => new() { Nanoseconds = Nanoseconds };

    /// <summary>Sets guest time; the clock must be paused. Restore it before the devices, which arm their timers by it.</summary>
    public void Restore(MachineClockState state)
    {
        StateFormat.Require(state.Version == MachineClockState.CurrentVersion && state.Nanoseconds >= 0, "clock");
        lock (_lock)
        {
            if (_epoch.Running)
                throw new InvalidOperationException("A running clock cannot be restored.");
            _epoch = new Epoch(false, state.Nanoseconds);
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

    private void PublishNextDeadline() => Volatile.Write(ref _nextDeadline, _armed == 0 ? Never : _heap[0].Deadline);

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
