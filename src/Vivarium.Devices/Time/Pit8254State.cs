namespace Vivarium.Devices;

/// <summary>The state of the interval timer and of port 0x61.</summary>
public sealed record Pit8254State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PitChannelState[] Channels { get; init; } = [];

    public bool SpeakerData { get; init; }

    /// <summary>Counter 0's output has risen, and IRQ 0 is still to be sent.</summary>
    public bool EdgeDue { get; init; }
}

/// <summary>One counter. Ticks are those of the 1.193182 MHz input since power-on.</summary>
public sealed record PitChannelState
{
    public byte Mode { get; init; }
    public byte Access { get; init; }
    public bool Bcd { get; init; }
    public bool Gate { get; init; }
    public bool Loaded { get; init; }
    public bool Counted { get; init; }
    public int Count { get; init; }

    /// <summary>A count that takes effect at the end of the period; 0 if none.</summary>
    public int NextCount { get; init; }

    public long NextStart { get; init; }
    public long Start { get; init; }

    /// <summary>When the gate stopped the count; -1 while it runs.</summary>
    public long StoppedAt { get; init; }

    public bool WriteHighNext { get; init; }
    public byte WriteLow { get; init; }
    public bool ReadHighNext { get; init; }
    public bool CountLatched { get; init; }
    public ushort LatchedCount { get; init; }
    public bool StatusLatched { get; init; }
    public byte LatchedStatus { get; init; }
    public bool NullCount { get; init; }
}
