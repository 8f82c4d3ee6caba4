namespace Vivarium.Devices;

/// <summary>The state of the real-time clock and its CMOS memory.</summary>
public sealed record RtcState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte Index { get; init; }

    /// <summary>All 128 bytes; the time registers hold the time only while the SET bit stops the clock.</summary>
    public byte[] Cmos { get; init; } = [];

    /// <summary>What the guest's setting of the time adds to the host's, in nanoseconds.</summary>
    public long Offset { get; init; }

    /// <summary>The second up to which flags have been worked out.</summary>
    public long LastSecond { get; init; }

    /// <summary>Guest time at which the periodic interrupt fires next.</summary>
    public long PeriodicDeadline { get; init; }
}
