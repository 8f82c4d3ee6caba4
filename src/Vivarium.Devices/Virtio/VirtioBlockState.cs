namespace Vivarium.Devices;

/// <summary>The state of a block device; its contents are the backend's.</summary>
public sealed record VirtioBlockState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }
    public bool Writeback { get; init; }
}
