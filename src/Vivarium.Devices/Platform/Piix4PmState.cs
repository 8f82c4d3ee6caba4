namespace Vivarium.Devices;

/// <summary>The state of the PIIX4's power management function, without that of the ACPI registers that it leads to.</summary>
public sealed record Piix4PmState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }

    /// <summary>The ports of the SMBus host controller.</summary>
    public byte[] Smbus { get; init; } = [];
}
