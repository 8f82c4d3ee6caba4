namespace Vivarium.Engine.Software.Translate;

/// <summary>Describes a memory access to the helpers: the word that translated code passes in T2.</summary>
internal readonly record struct AccessInfo(uint Word)
{
    private const int SegmentShift = 20;
    public const uint ReadBit = 1u << 16;
    public const uint WriteBit = 1u << 17;
    private const uint MaskedBit = 1u << 18;

    public AccessInfo(int size, bool read, bool write, int segment, bool masked)
        : this((uint)size | (read ? ReadBit : 0) | (write ? WriteBit : 0) | (masked ? MaskedBit : 0) | ((uint)segment << SegmentShift))
    {
    }

    /// <summary>Bytes.</summary>
    public int Size => (int)(Word & 0xFFFF);

    public bool Read => (Word & ReadBit) != 0;

    public bool Write => (Word & WriteBit) != 0;

    /// <summary>Only the elements that the instruction's mask selects are accessed.</summary>
    public bool Masked => (Word & MaskedBit) != 0;

    /// <summary>Segment register by encoding.</summary>
    public int Segment => (int)(Word >> SegmentShift) & 7;
}
