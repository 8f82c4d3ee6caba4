namespace Vivarium.Devices;

/// <summary>The state of an NVMe controller; what is on the disk is the backend's.</summary>
public sealed record NvmeState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }
    public uint Configuration { get; init; }
    public uint Status { get; init; }
    public uint InterruptMask { get; init; }
    public uint AdminAttributes { get; init; }
    public ulong AdminSubmissionBase { get; init; }
    public ulong AdminCompletionBase { get; init; }
    public uint[] Features { get; init; } = [];
    public ushort[] EventRequests { get; init; } = [];
    public NvmeCompletionQueueState[] Completions { get; init; } = [];
    public NvmeSubmissionQueueState[] Submissions { get; init; } = [];
}

public sealed record NvmeCompletionQueueState(ushort Id, ulong Address, uint Size, ushort Vector, bool Interrupts, uint Head, uint Tail, bool Phase);

public sealed record NvmeSubmissionQueueState(ushort Id, ulong Address, uint Size, ushort Completions, uint Head, uint Tail);
