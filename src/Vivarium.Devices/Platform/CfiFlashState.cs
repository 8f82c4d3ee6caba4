namespace Vivarium.Devices;

/// <summary>The registers of a flash memory; its contents are part of the machine's memory.</summary>
public sealed record CfiFlashState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>The command that says what reads show: the contents (FFh), the status (70h) or the identifier (90h).</summary>
    public byte Mode { get; init; }

    /// <summary>A command whose second write is still to come; 0 for none.</summary>
    public byte Pending { get; init; }

    public byte Status { get; init; }
}
