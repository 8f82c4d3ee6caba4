namespace Vivarium.Devices;

/// <summary>The state of a CD drive; what is on the disc is the backend's.</summary>
public sealed record MmcDriveState
{
    public bool IsOpen { get; init; }
    public bool IsLocked { get; init; }

    /// <summary>The host is yet to be told of the reset, of the new disc.</summary>
    public bool ResetAttention { get; init; }
    public bool MediumAttention { get; init; }

    /// <summary>The medium's event that has not been asked for yet.</summary>
    public byte Event { get; init; }
    public byte SenseKey { get; init; }
    public byte SenseCode { get; init; }
    public byte SenseQualifier { get; init; }
}
