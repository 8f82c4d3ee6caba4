namespace Vivarium.Devices;

/// <summary>The state of an IDE controller with its disks.</summary>
public sealed record PiixIdeState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }
    public AtaChannelState[] Channels { get; init; } = [];
}
