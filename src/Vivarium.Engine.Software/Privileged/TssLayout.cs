namespace Vivarium.Engine.Software.Privileged;

/// <summary>Where a TSS keeps the state of its task (SDM vol. 3A, figures 7-2 and 7-10).</summary>
internal readonly struct TssLayout
{
    public static readonly TssLayout Wide = new()
    {
        RegisterSize = 4,
        Cr3 = 0x1C,
        Ip = 0x20,
        Flags = 0x24,
        General = 0x28,
        Segments = 0x48,
        SegmentCount = 6,
        Ldt = 0x60,
        Trap = 0x64,
        Length = 0x68,
    };

    public static readonly TssLayout Narrow = new()
    {
        RegisterSize = 2,
        Ip = 0x0E,
        Flags = 0x10,
        General = 0x12,
        Segments = 0x22,
        SegmentCount = 4,
        Ldt = 0x2A,
        Length = 0x2C,
    };

    /// <summary>Size of a general register, and of the place of a selector.</summary>
    public int RegisterSize { get; private init; }

    /// <summary>0: this kind has no CR3.</summary>
    public uint Cr3 { get; private init; }

    public uint Ip { get; private init; }

    public uint Flags { get; private init; }

    public uint General { get; private init; }

    public uint Segments { get; private init; }

    public int SegmentCount { get; private init; }

    public uint Ldt { get; private init; }

    /// <summary>The debug trap flag's word; 0: this kind has none.</summary>
    public uint Trap { get; private init; }

    public uint Length { get; private init; }

    public static TssLayout Of(uint type) => (type & SystemType.Wide) != 0 ? Wide : Narrow;

    public uint GeneralAt(int index) => General + (uint)(index * RegisterSize);

    public uint SegmentAt(int index) => Segments + (uint)(index * RegisterSize);
}
