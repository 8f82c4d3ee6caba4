namespace Vivarium.Engine.Software.Translate;

/// <summary>Describes a memory access to the helpers: the word that translated code passes in T2.</summary>
internal readonly record struct AccessInfo(uint Word)
{
    private const int SegmentShift = 20;
    public const uint ReadBit = 1u << 16;
    public const uint WriteBit = 1u << 17;

    public AccessInfo(int size, bool read, bool write, int segment)
        : this((uint)size | (read ? ReadBit : 0) | (write ? WriteBit : 0) | ((uint)segment << SegmentShift))
    {
    }

    /// <summary>Bytes.</summary>
    public int Size => (int)(Word & 0xFFFF);

    public bool Read => (Word & ReadBit) != 0;

    public bool Write => (Word & WriteBit) != 0;

    /// <summary>Segment register by encoding.</summary>
    public int Segment => (int)(Word >> SegmentShift) & 7;
}
