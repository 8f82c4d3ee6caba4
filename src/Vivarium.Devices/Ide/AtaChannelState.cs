namespace Vivarium.Devices;

/// <summary>The state of one IDE channel.</summary>
public sealed record AtaChannelState
{
    /// <summary>0 or 1.</summary>
    public int Selected { get; init; }

    /// <summary>Device Control.</summary>
    public byte Control { get; init; }
    public bool Intrq { get; init; }
    public BusMasterState? Master { get; init; }
    public AtaDeviceState? Device0 { get; init; }
    public AtaDeviceState? Device1 { get; init; }
}

/// <summary>A channel's bus master registers.</summary>
public sealed record BusMasterState
{
    public byte Command { get; init; }
    public byte Status { get; init; }

    /// <summary>Where the list of physical regions begins.</summary>
    public uint Table { get; init; }
}
