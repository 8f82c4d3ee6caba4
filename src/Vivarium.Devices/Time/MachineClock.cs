namespace Vivarium.Devices;

/// <summary>
/// A machine's time, the only one its devices know: monotonic guest nanoseconds since power-on that can be paused and
/// saved, the wall clock for the RTC, the pace of the guest's TSC, and the board's deadlines. A new clock is paused; whoever
/// lets it run wakes the threads that wait for deadlines.
/// </summary>
public sealed class MachineClock
{
    public const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>The guest time of what is not going to happen.</summary>
    public const long Never = long.MaxValue;

    private readonly Lock _lock = new();
    private readonly TimeProvider _host;

    /// <summary>One reference, so that readers without the lock see a consistent pair.</summary>
    private volatile Epoch _epoch = new(false, 0);

    public MachineClock(TimeProvider? host = null)
    {
        _host = host ?? TimeProvider.System;
        Deadlines = new DeadlineQueue(this);
    }

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

    /// <summary>The frequency of the guest's TSC in Hz; said by the machine before it starts.</summary>
    public ulong TscFrequency
    {
        get => TscFrequencyReader is { } read ? read() : field;
        set;
    } = NanosecondsPerSecond;

    /// <summary>Says <see cref="TscFrequency"/> when it is wanted: to measure it takes time, and a start has none.</summary>
    public Func<ulong>? TscFrequencyReader { get; set; }

    /// <summary>
    /// Reads the first processor's TSC (the host's plus the guest's offset); set by the machine before it starts. Without it
    /// the TSC follows guest time.
    /// </summary>
    public Func<ulong>? TscReader { get; set; }

    /// <summary>The first processor's TSC now.</summary>
    public ulong Tsc => TscReader is { } read ? read() : (ulong)((UInt128)(ulong)Nanoseconds * TscFrequency / NanosecondsPerSecond);

    public bool IsPaused => !_epoch.Running;

    /// <summary>The deadlines of the board's devices; each local APIC has a queue of its own.</summary>
    public DeadlineQueue Deadlines { get; }

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

    /// <summary>The guest time at which a TSC that is now <paramref name="current"/> reaches <paramref name="tsc"/>; for a past value, now.</summary>
    public long NanosecondsAtTsc(ulong tsc, ulong current)
    {
        var now = Nanoseconds;
        var distance = unchecked((long)(tsc - current));
        if (distance <= 0)
            return now;
        var nanoseconds = ((UInt128)(ulong)distance * NanosecondsPerSecond + TscFrequency - 1) / TscFrequency;
        return nanoseconds > (UInt128)(Never - now) ? Never : now + (long)nanoseconds;
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
}
