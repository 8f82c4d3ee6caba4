namespace Vivarium.Devices;

/// <summary>The state of the POST code display.</summary>
public sealed record PostCodeState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte Last { get; init; }
}
