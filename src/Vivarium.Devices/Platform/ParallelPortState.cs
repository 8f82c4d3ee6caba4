namespace Vivarium.Devices;

/// <summary>The latches of a parallel port.</summary>
public sealed record ParallelPortState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte Data { get; init; }
    public byte Control { get; init; }
}
