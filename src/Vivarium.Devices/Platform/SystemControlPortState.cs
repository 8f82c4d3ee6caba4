namespace Vivarium.Devices;

/// <summary>The state of system control port A.</summary>
public sealed record SystemControlPortState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte Value { get; init; }
}
