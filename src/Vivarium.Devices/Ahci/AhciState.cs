namespace Vivarium.Devices;

/// <summary>The state of an AHCI controller with its devices.</summary>
public sealed record AhciState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }
    public uint Control { get; init; }
    public uint Interrupts { get; init; }
    public AhciPortState[] Ports { get; init; } = [];
}

/// <summary>A port's registers, and the device at its other end.</summary>
public sealed record AhciPortState
{
    public ulong CommandList { get; init; }
    public ulong FisBase { get; init; }
    public uint Interrupts { get; init; }
    public uint InterruptEnable { get; init; }
    public uint Command { get; init; }
    public uint SerialControl { get; init; }
    public uint SerialError { get; init; }
    public uint SerialActive { get; init; }
    public uint Issued { get; init; }
    public byte Status { get; init; }
    public byte Error { get; init; }
    public uint Signature { get; init; }
    public int Slot { get; init; }
    public bool IsStopped { get; init; }

    /// <summary>The device is being reset; by a command in this slot, or -1.</summary>
    public bool AwaitsSignature { get; init; }
    public int ResetSlot { get; init; }
    public AtaDeviceState? Device { get; init; }
}
