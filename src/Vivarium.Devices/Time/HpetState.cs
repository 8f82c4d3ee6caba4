namespace Vivarium.Devices;

/// <summary>The state of the HPET.</summary>
public sealed record HpetState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public ulong Configuration { get; init; }
    public uint InterruptStatus { get; init; }

    /// <summary>The main counter at the time of saving.</summary>
    public ulong Counter { get; init; }

    public HpetTimerState[] Timers { get; init; } = [];
}

/// <summary>One comparator.</summary>
public sealed record HpetTimerState
{
    public ulong Configuration { get; init; }
    public ulong Comparator { get; init; }
    public ulong Period { get; init; }
    public ulong FsbRoute { get; init; }

    /// <summary>It has matched, and its interrupt is still to be sent.</summary>
    public bool Due { get; init; }
}
