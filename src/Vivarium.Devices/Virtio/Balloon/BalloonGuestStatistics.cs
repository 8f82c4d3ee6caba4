namespace Vivarium.Devices;

/// <summary>What the guest's driver says of its memory (virtio 1.2, 5.5.6.4); null for what it does not say. Bytes, but for counts.</summary>
public sealed record BalloonGuestStatistics
{
    /// <summary>Read from swap space since the guest's start.</summary>
    public ulong? SwapIn { get; init; }

    /// <summary>Written to swap space since the guest's start.</summary>
    public ulong? SwapOut { get; init; }

    /// <summary>A count.</summary>
    public ulong? MajorFaults { get; init; }

    /// <summary>A count.</summary>
    public ulong? MinorFaults { get; init; }

    /// <summary>Used for nothing.</summary>
    public ulong? Free { get; init; }

    /// <summary>All that the guest manages.</summary>
    public ulong? Total { get; init; }

    /// <summary>An estimate of what new programs could have without swapping.</summary>
    public ulong? Available { get; init; }

    /// <summary>Could be had at once, mostly from file caches.</summary>
    public ulong? Caches { get; init; }

    /// <summary>A count.</summary>
    public ulong? HugePageAllocations { get; init; }

    /// <summary>A count.</summary>
    public ulong? HugePageFailures { get; init; }

    /// <summary>These figures with one more; unknown tags change nothing.</summary>
    internal BalloonGuestStatistics With(ushort tag, ulong value) => tag switch
    {
        0 => this with { SwapIn = value },
        1 => this with { SwapOut = value },
        2 => this with { MajorFaults = value },
        3 => this with { MinorFaults = value },
        4 => this with { Free = value },
        5 => this with { Total = value },
        6 => this with { Available = value },
        7 => this with { Caches = value },
        8 => this with { HugePageAllocations = value },
        9 => this with { HugePageFailures = value },
        _ => this,
    };
}
