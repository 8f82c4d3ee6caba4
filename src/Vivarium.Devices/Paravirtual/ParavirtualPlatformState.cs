namespace Vivarium.Devices;

/// <summary>The state of the paravirtual interface that the vCPUs share.</summary>
public sealed record ParavirtualPlatformState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public KvmClockState Clock { get; init; } = new();

    /// <summary>MSR_KVM_WALL_CLOCK.</summary>
    public ulong WallClock { get; init; }
}
