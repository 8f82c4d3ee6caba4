namespace Vivarium.Firmware.Boot;

/// <summary>
/// A segment register with its hidden part. <paramref name="Limit"/> is in bytes, granularity applied;
/// <paramref name="Attributes"/> has the layout of VMX access rights: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13,
/// D/B 14, G 15, unusable 16 (SDM vol. 3C, 25.4.1).
/// </summary>
public readonly record struct SegmentState(ushort Selector, ulong Base, uint Limit, uint Attributes)
{
    /// <summary>Present, accessed, execute/read, L, G.</summary>
    public static SegmentState Code64 { get; } = new(BootGdt.CodeSelector, 0, 0xFFFF_FFFF, 0xA09B);

    /// <summary>Present, accessed, execute/read, D, G.</summary>
    public static SegmentState Code32 { get; } = new(BootGdt.CodeSelector, 0, 0xFFFF_FFFF, 0xC09B);

    /// <summary>Present, accessed, read/write, B, G.</summary>
    public static SegmentState Data { get; } = new(BootGdt.DataSelector, 0, 0xFFFF_FFFF, 0xC093);

    /// <summary>A present, busy task state segment; a processor needs one, these entries never use it.</summary>
    public static SegmentState Task { get; } = new(0, 0, 0xFFFF, 0x8B);

    /// <summary>As real mode loads a segment register.</summary>
    public static SegmentState RealMode(ushort segment, bool isCode) => new(segment, (uint)segment << 4, 0xFFFF, isCode ? 0x9Bu : 0x93u);

    /// <summary>Nothing loaded.</summary>
    public static SegmentState Unusable { get; } = new(0, 0, 0, 1u << 16);
}
