namespace Vivarium.Devices;

/// <summary>The state of the 8259 pair; index 0 is the master.</summary>
public sealed record Pic8259State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public Pic8259ChipState[] Chips { get; init; } = [];
}

/// <summary>The registers of one 8259.</summary>
public sealed record Pic8259ChipState
{
    public byte Irr { get; init; }
    public byte Imr { get; init; }
    public byte Isr { get; init; }
    public byte Inputs { get; init; }
    public byte Elcr { get; init; }
    public byte VectorBase { get; init; }
    public byte LowestPriority { get; init; }
    public byte InitializationStep { get; init; }
    public bool ExpectIcw4 { get; init; }
    public bool Single { get; init; }
    public bool LevelTriggered { get; init; }
    public bool AutoEoi { get; init; }
    public bool RotateOnAutoEoi { get; init; }
    public bool SpecialMask { get; init; }
    public bool SpecialFullyNested { get; init; }
    public bool ReadIsr { get; init; }
    public bool Poll { get; init; }
}
