namespace Vivarium.Devices;

/// <summary>The state of an I/O APIC.</summary>
public sealed record IoApicState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte Id { get; init; }

    public byte Select { get; init; }

    /// <summary>The levels of the pins.</summary>
    public uint Inputs { get; init; }

    public ulong[] Redirection { get; init; } = [];
}
