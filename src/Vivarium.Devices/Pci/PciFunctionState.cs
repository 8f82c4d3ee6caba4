namespace Vivarium.Devices;

/// <summary>The state of a PCI function: its configuration space, its interrupt pin and its MSI-X table.</summary>
public sealed record PciFunctionState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte[] Config { get; init; } = [];
    public bool Interrupt { get; init; }
    public MsiXState? MsiX { get; init; }
}

/// <summary>The MSI-X table, four dwords per vector, and the pending bits.</summary>
public sealed record MsiXState
{
    public uint[] Table { get; init; } = [];
    public bool[] Pending { get; init; } = [];
}
