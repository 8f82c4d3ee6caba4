namespace Vivarium.Devices;

/// <summary>The state of kvmclock.</summary>
public sealed record KvmClockState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>The time that guests read.</summary>
    public long Nanoseconds { get; init; }
}
