namespace Vivarium.Devices;

/// <summary>The state of the two DMA controllers.</summary>
public sealed record DmaState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte[] Command { get; init; } = [];
    public byte[] Status { get; init; } = [];
    public bool[] Pointer { get; init; } = [];
    public byte[] Pages { get; init; } = [];
    public DmaChannelState[] Channels { get; init; } = [];
}

public sealed record DmaChannelState(ushort BaseAddress, ushort BaseCount, ushort Address, ushort Count, bool IsMasked, byte Mode, byte Page);
