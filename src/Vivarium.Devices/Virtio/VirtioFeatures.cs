namespace Vivarium.Devices;

/// <summary>Feature bits that belong to the rings and transports, as masks (virtio 1.2, 6).</summary>
public static class VirtioFeatures
{
    public const ulong IndirectDesc = 1ul << 28;
    public const ulong EventIdx = 1ul << 29;
    public const ulong Version1 = 1ul << 32;
    public const ulong RingPacked = 1ul << 34;
    public const ulong RingReset = 1ul << 40;

    /// <summary>What every device of ours offers, because the rings and transports do it all.</summary>
    public const ulong Common = IndirectDesc | EventIdx | Version1 | RingPacked | RingReset;

    /// <summary>The 32 bits that a feature select register chooses.</summary>
    internal static uint Half(ulong features, uint select) => select switch
    {
        0 => (uint)features,
        1 => (uint)(features >> 32),
        _ => 0,
    };
}
