namespace Vivarium.Devices;

/// <summary>The state of the ACPI fixed hardware.</summary>
public sealed record AcpiPmState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public ushort EventStatus { get; init; }
    public ushort EventEnable { get; init; }
    public ushort Control { get; init; }
    public ushort GpeStatus { get; init; }
    public ushort GpeEnable { get; init; }

    /// <summary>Half periods of the PM timer's highest bit up to which TMR_STS has been worked out.</summary>
    public long TimerHalves { get; init; }
}
