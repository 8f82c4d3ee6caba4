namespace Vivarium.Devices;

/// <summary>The state of a socket device. Connections are the host's: whoever restores it tells the guest that they are gone.</summary>
public sealed record VirtioVsockState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }

    /// <summary>The guest's context identifier.</summary>
    public uint Cid { get; init; }
}
