namespace Vivarium.Devices;

/// <summary>The state of an 82540EM.</summary>
public sealed record E1000State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }

    /// <summary>All registers that keep what is written or counted, by their places.</summary>
    public uint[] Registers { get; init; } = [];

    /// <summary>Which register the window in port space shows.</summary>
    public uint PortAddress { get; init; }

    /// <summary>ICR and the mask of IMS and IMC.</summary>
    public uint Causes { get; init; }
    public uint Mask { get; init; }

    /// <summary>A frame waits for receive buffers.</summary>
    public bool IsStarved { get; init; }

    public E1000EepromState? Eeprom { get; init; }
    public E1000PhyState? Phy { get; init; }
    public E1000TransmitState? Transmit { get; init; }
}

/// <summary>The state of the registers in front of the EEPROM, and of its serial interface.</summary>
public sealed record E1000EepromState
{
    public uint Control { get; init; }
    public uint Read { get; init; }
    public SerialEepromState? Chip { get; init; }
}

/// <summary>The state of the transceiver.</summary>
public sealed record E1000PhyState
{
    public ushort[] Registers { get; init; } = [];
    public uint Access { get; init; }
}

/// <summary>What the transmitter keeps from one descriptor to the next.</summary>
public sealed record E1000TransmitState
{
    /// <summary>The last context descriptor, as the guest wrote it.</summary>
    public ulong ContextLow { get; init; }
    public ulong ContextHigh { get; init; }

    /// <summary>The context descriptor before it that was for segmentation.</summary>
    public ulong SegmentationLow { get; init; }
    public ulong SegmentationHigh { get; init; }

    /// <summary>The frame that is not complete yet, its first descriptor's options, and whether it has become too long.</summary>
    public byte[] Frame { get; init; } = [];
    public ulong First { get; init; }
    public bool HasFirst { get; init; }
    public bool IsTooLong { get; init; }
}
