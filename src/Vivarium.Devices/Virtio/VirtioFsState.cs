namespace Vivarium.Devices;

/// <summary>
/// The state of a file system device. What the guest has open on the host is not in it and cannot be: after a restore, its
/// file system has to be mounted again, and until then it sees stale file handles.
/// </summary>
public sealed record VirtioFsState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }
}
