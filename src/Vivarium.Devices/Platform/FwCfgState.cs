namespace Vivarium.Devices;

/// <summary>The state of the firmware configuration device: what is selected, how far it was read, and half of a request's address.</summary>
public sealed record FwCfgState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public ushort Selected { get; init; }
    public uint Offset { get; init; }
    public uint DmaHigh { get; init; }
}
