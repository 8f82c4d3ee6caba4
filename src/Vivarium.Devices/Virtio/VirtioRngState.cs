namespace Vivarium.Devices;

/// <summary>The state of an entropy device: only what all devices have.</summary>
public sealed record VirtioRngState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }
}
