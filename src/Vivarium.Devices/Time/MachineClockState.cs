namespace Vivarium.Devices;

/// <summary>The state of a <see cref="MachineClock"/>. Deadlines are not here: each device arms its own again.</summary>
public sealed record MachineClockState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public long Nanoseconds { get; init; }
}
