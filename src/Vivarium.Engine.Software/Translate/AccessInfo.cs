namespace Vivarium.Engine.Software.Translate;

/// <summary>What is special about an access when it does not simply succeed.</summary>
[Flags]
internal enum AccessRules : byte
{
    None = 0,

    /// <summary>Only the elements that the instruction's mask selects are accessed.</summary>
    Masked = 1,

    /// <summary>A misaligned operand is #GP, before any page fault.</summary>
    Aligned = 2,

    /// <summary>A pending x87 exception is #MF, before any page fault.</summary>
    Waiting = 4,

    /// <summary>A read, before a write of the same instruction: a device must not be read before it is known that the write can be done here.</summary>
    BeforeWrite = 8,
}

/// <summary>Describes a memory access to the helpers: the word that translated code passes in T2, or the thunks make from <see cref="Brief"/>.</summary>
internal readonly record struct AccessInfo(uint Word)
{
    /// <summary>Where the rules begin in <see cref="Brief"/>.</summary>
    public const int BriefRulesShift = 12;

    private const int SegmentShift = 20;
    public const uint ReadBit = 1u << 16;
    public const uint WriteBit = 1u << 17;
    public const int RulesShift = 24;

    public AccessInfo(int size, bool read, bool write, int segment, AccessRules rules)
        : this((uint)size | (read ? ReadBit : 0) | (write ? WriteBit : 0) | ((uint)segment << SegmentShift) | ((uint)rules << RulesShift))
    {
    }

    /// <summary>Size and rules: what a check of a translation does not tell otherwise, in 16 bits.</summary>
    public ushort Brief => checked((ushort)(Size | ((int)Rules << BriefRulesShift)));

    /// <summary>Bytes; less than 4096.</summary>
    public int Size => (int)(Word & 0xFFFF);

    public bool Read => (Word & ReadBit) != 0;

    public bool Write => (Word & WriteBit) != 0;

    public AccessRules Rules => (AccessRules)(Word >> RulesShift);

    /// <summary>Segment register by encoding.</summary>
    public int Segment => (int)(Word >> SegmentShift) & 7;
}
