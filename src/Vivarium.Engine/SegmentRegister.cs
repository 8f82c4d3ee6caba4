namespace Vivarium.Engine;

/// <summary>A segment register with its hidden part (SDM vol. 3A, 3.4.3).</summary>
public struct SegmentRegister
{
    /// <summary>Base, linear address.</summary>
    public ulong Base;

    /// <summary>Limit in bytes, granularity already applied: the last valid offset (or, for expand-down, the last invalid one).</summary>
    public uint Limit;

    public ushort Selector;

    /// <summary>
    /// Access rights as in the descriptor's second dword, bits 23:8 shifted down by 8 (SDM vol. 3A, 3.4.5), limit bits
    /// cleared: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15; and <see cref="Unusable"/>.
    /// </summary>
    public uint Attributes;

    public const uint TypeMask = 0xF;
    public const uint CodeOrData = 1u << 4;
    public const int DplShift = 5;
    public const uint Present = 1u << 7;
    public const uint Long = 1u << 13;
    public const uint Big = 1u << 14;
    public const uint Granularity = 1u << 15;
    public const uint Unusable = 1u << 16;

    public readonly int Dpl => (int)(Attributes >> DplShift) & 3;

    public readonly uint Type => Attributes & TypeMask;
}
