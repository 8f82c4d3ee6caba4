using System.Numerics;

namespace Vivarium.Devices;

/// <summary>
/// The time that kvmclock tells: nanoseconds since power-on, counted by the host's TSC, so that every vCPU reads the
/// same time without a word from the monitor. It stands still while the machine's clock is paused.
/// </summary>
/// <remarks>
/// Guests scale the TSC as the kernel's <c>pvclock-abi.h</c> says: nanoseconds = (ticks shifted by <see cref="Shift"/>)
/// * <see cref="Multiplier"/> / 2^32. The same arithmetic is used here, so that time goes on after a pause exactly
/// where the guest saw it last.
/// </remarks>
public sealed class KvmClock
{
    private readonly MachineClock _clock;
    private readonly Func<ulong> _hostTsc;
    private readonly Lazy<(uint Multiplier, int Shift)> _scale;

    /// <summary>One reference, so that readers see parts that belong together.</summary>
    private volatile Anchor _anchor = new(0, 0, false, 0);

    /// <param name="clock">The machine's clock, paused; its TSC frequency is the guest's.</param>
    /// <param name="hostTsc">Reads the host's TSC.</param>
    public KvmClock(MachineClock clock, Func<ulong> hostTsc)
    {
        _clock = clock;
        _hostTsc = hostTsc;
        _scale = new Lazy<(uint, int)>(() => Scale(clock.TscFrequency));
        clock.Pausing = Pause;
        clock.Resuming = Resume;
    }

    /// <summary>Nanoseconds since power-on, not counting pauses.</summary>
    public long Nanoseconds => NanosecondsAt(_anchor, _hostTsc());

    internal uint Multiplier => _scale.Value.Multiplier;

    internal int Shift => _scale.Value.Shift;

    /// <summary>By what vCPUs count time now; another object after each pause.</summary>
    internal Anchor Current => _anchor;

    /// <summary>The wall clock at power-on, were it not for pauses: what added to <see cref="Nanoseconds"/> is the wall clock now.</summary>
    internal long UnixEpoch => _clock.UnixNanoseconds - Nanoseconds;

    /// <summary>The wall clock and the host's TSC at the same moment.</summary>
    internal (long UnixNanoseconds, ulong HostTsc) Pair()
    {
        // The wall clock is read between two looks at the counter; a host that interrupts makes them far apart.
        const int attempts = 4;
        var best = (Unix: 0L, Tsc: 0UL);
        var shortest = ulong.MaxValue;
        for (var attempt = 0; attempt < attempts; attempt++)
        {
            var before = _hostTsc();
            var unix = _clock.UnixNanoseconds;
            var span = _hostTsc() - before;
            if (span >= shortest)
                continue;
            shortest = span;
            best = (unix, before + span / 2);
        }

        return best;
    }

    public KvmClockState Save() => new() { Nanoseconds = Nanoseconds };

    /// <summary>Sets the time; the machine's clock is paused.</summary>
    public void Restore(KvmClockState state)
    {
        StateFormat.Require(state.Version == KvmClockState.CurrentVersion && state.Nanoseconds >= 0 && _clock.IsPaused, "kvmclock");
        _anchor = new Anchor(0, state.Nanoseconds, false, _anchor.Resumes + 1);
    }

    /// <summary>The multiplier with the most significant bits that fit, and the shift that goes with it.</summary>
    private static (uint Multiplier, int Shift) Scale(ulong frequency)
    {
        // Ticks are brought to a rate between one and two in a nanosecond; the multiplier is then below 2^32.
        var shift = BitOperations.Log2(MachineClock.NanosecondsPerSecond) - BitOperations.Log2(frequency);
        UInt128 Multiplier() => shift < 0
            ? ((UInt128)MachineClock.NanosecondsPerSecond << (32 - shift)) / frequency
            : ((UInt128)MachineClock.NanosecondsPerSecond << 32) / ((UInt128)frequency << shift);
        while (Multiplier() > uint.MaxValue)
            shift++;
        return ((uint)Multiplier(), shift);
    }

    private void Pause() => _anchor = new Anchor(0, Nanoseconds, false, _anchor.Resumes);

    private void Resume() => _anchor = new Anchor(_hostTsc(), _anchor.Nanoseconds, true, _anchor.Resumes + 1);

    private long NanosecondsAt(Anchor anchor, ulong hostTsc)
    {
        if (!anchor.IsRunning)
            return anchor.Nanoseconds;
        var ticks = (UInt128)(hostTsc - anchor.HostTsc);
        ticks = Shift < 0 ? ticks >> -Shift : ticks << Shift;
        return anchor.Nanoseconds + (long)(ticks * Multiplier >> 32);
    }

    /// <summary>A moment: the host's TSC and the time then.</summary>
    /// <param name="Resumes">How often time has begun to run, this one included.</param>
    internal sealed record Anchor(ulong HostTsc, long Nanoseconds, bool IsRunning, int Resumes);
}
