using Vivarium.Engine;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>System-descriptor types (SDM vol. 3A, table 3-2).</summary>
internal static class SystemType
{
    public const uint AvailableTss16 = 1;
    public const uint Ldt = 2;
    public const uint BusyTss16 = 3;
    public const uint CallGate16 = 4;
    public const uint TaskGate = 5;
    public const uint InterruptGate16 = 6;
    public const uint TrapGate16 = 7;
    public const uint AvailableTss = 9;
    public const uint BusyTss = 11;
    public const uint CallGate = 12;
    public const uint InterruptGate = 14;
    public const uint TrapGate = 15;

    /// <summary>Added to an available TSS.</summary>
    public const uint Busy = 2;

    /// <summary>Set in the 32-bit (and 64-bit) kinds of TSS and gate, clear in the 16-bit ones.</summary>
    public const uint Wide = 8;
}

/// <summary>A segment or system descriptor (SDM vol. 3A, 3.4.5 and 3.5) and where it was read.</summary>
internal readonly struct Descriptor(ushort selector, ulong address, ulong value, ulong upper = 0)
{
    // The type field of code and data segments.
    private const uint Accessed = 1;
    private const uint ReadWrite = 2;
    private const uint ConformingOrExpandDown = 4;
    private const uint Code = 8;

    public ushort Selector { get; } = selector;

    /// <summary>Linear address of the descriptor.</summary>
    public ulong Address { get; } = address;

    public ulong Value { get; } = value;

    /// <summary>In the form of <see cref="SegmentRegister.Attributes"/>.</summary>
    public uint Attributes => (uint)(Value >> 40) & 0xF0FF;

    public uint Type => Attributes & SegmentRegister.TypeMask;

    public int Dpl => (int)(Attributes >> SegmentRegister.DplShift) & 3;

    public bool Present => (Attributes & SegmentRegister.Present) != 0;

    public bool IsSystem => (Attributes & SegmentRegister.CodeOrData) == 0;

    public bool IsCode => !IsSystem && (Type & Code) != 0;

    public bool IsData => !IsSystem && (Type & Code) == 0;

    public bool IsConforming => IsCode && (Type & ConformingOrExpandDown) != 0;

    public bool IsReadable => IsData || (IsCode && (Type & ReadWrite) != 0);

    public bool IsWritable => IsData && (Type & ReadWrite) != 0;

    public bool IsAccessed => (Type & Accessed) != 0;

    /// <summary>A 64-bit code segment.</summary>
    public bool IsLong => (Attributes & SegmentRegister.Long) != 0;

    public bool IsBig => (Attributes & SegmentRegister.Big) != 0;

    /// <summary>With the upper half that system descriptors have in IA-32e mode.</summary>
    public ulong Base => ((Value >> 16) & 0x00FF_FFFF) | ((Value >> 32) & 0xFF00_0000) | (upper << 32);

    /// <summary>In bytes: granularity applied.</summary>
    public uint Limit
    {
        get
        {
            uint limit = (uint)(Value & 0xFFFF) | ((uint)(Value >> 32) & 0xF_0000);
            return (Attributes & SegmentRegister.Granularity) != 0 ? (limit << 12) | 0xFFF : limit;
        }
    }

    public NativeSegment ToSegment(ushort selector) => new()
    {
        Selector = selector,
        Base = Base,
        Limit = Limit,
        Attributes = Attributes | (IsSystem ? 0 : Accessed),
    };
}

/// <summary>A call, interrupt, trap or task gate (SDM vol. 3A, 5.8.3 and 6.11).</summary>
internal readonly struct Gate(ulong value, ulong upper)
{
    public uint Type => (uint)(value >> 40) & 0x1F;

    public int Dpl => (int)(value >> 45) & 3;

    public bool Present => (value >> 47 & 1) != 0;

    public ushort Selector => (ushort)(value >> 16);

    public bool IsWide => (Type & SystemType.Wide) != 0;

    public ulong Offset
    {
        get
        {
            ulong offset = (value & 0xFFFF) | (value >> 48 << 16) | (upper << 32);
            return IsWide ? offset : (ushort)offset;
        }
    }

    /// <summary>Interrupt stack table index (IA-32e mode).</summary>
    public int Ist => (int)(value >> 32) & 7;

    /// <summary>Words or doublewords that a call gate copies to the inner stack.</summary>
    public int ParameterCount => (int)(value >> 32) & 31;
}
