namespace Vivarium.Devices;

/// <summary>The state of an RTL8139C+.</summary>
public sealed record Rtl8139State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }

    /// <summary>All registers, by their places.</summary>
    public byte[] Registers { get; init; } = [];

    public SerialEepromState? Eeprom { get; init; }

    /// <summary>Which transmit status register of the classic mode comes next, and which descriptors of the C+ mode.</summary>
    public int NextStatus { get; init; }
    public int NextNormal { get; init; }
    public int NextHigh { get; init; }
    public int NextReceive { get; init; }

    /// <summary>TPPoll's bits that have not been answered.</summary>
    public byte Polls { get; init; }

    /// <summary>What TCTR reads.</summary>
    public uint TimerCount { get; init; }

    /// <summary>A frame waits for room.</summary>
    public bool IsStarved { get; init; }

    /// <summary>The frame that descriptors have begun.</summary>
    public byte[] Frame { get; init; } = [];

    public Rtl8139CounterState? Counters { get; init; }
}

/// <summary>What was sent and received.</summary>
public sealed record Rtl8139CounterState
{
    public ulong Transmitted { get; init; }
    public ulong Received { get; init; }
    public ulong Physical { get; init; }
    public ulong Broadcast { get; init; }
    public uint Multicast { get; init; }
}
