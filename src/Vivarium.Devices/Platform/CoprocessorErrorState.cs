namespace Vivarium.Devices;

/// <summary>The state of the coprocessor error logic.</summary>
public sealed record CoprocessorErrorState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public bool Asserted { get; init; }
}
