using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// What is known of a translation beside its code, in one piece outside of the managed heap: this header, the guest's
/// bytes, the relocations, the map, the stubs. Copies of the translation share it. It holds no address and no RIP.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 40)]
internal unsafe struct BlockRecord
{
    /// <summary>What the guest's bytes are padded to on both sides: they stand as in their page, and are compared in these units.</summary>
    private const int Word = 8;

    /// <summary>How many numbers each of <see cref="Block.JumpStubs"/> is.</summary>
    public const int StubNumbers = 3;

    /// <summary>Over all that follows, and the code (CRC-32C); in files only.</summary>
    public uint Checksum;

    /// <summary>By what it is looked up, if it is <see cref="RecordFlags.Movable"/>.</summary>
    public uint Key;

    /// <summary>Bytes that the record takes, padding included: what <see cref="Measure"/> says.</summary>
    public uint Size;

    /// <summary>In which the block goes on to others; a block that can be moved begins in it too.</summary>
    public BlockMode Mode;

    /// <summary>Of the first byte in its guest page.</summary>
    public ushort PageOffset;

    public RecordFlags Flags;

    public ushort GuestLength;

    /// <summary>Guest bytes that the translator has looked at: at least those it has translated.</summary>
    public ushort DecodedLength;

    public ushort CodeLength;

    /// <summary>How many relocations, and 16-bit numbers in map and stubs.</summary>
    public ushort RelocationCount;
    public ushort MapCount;
    public ushort StubCount;

    /// <summary>As <see cref="Relocations.Lowest"/> and <see cref="Relocations.Highest"/>.</summary>
    public int Lowest;
    public int Highest;

    /// <summary>Bytes of guest code, up to the beginning of the first word of eight that holds some.</summary>
    public readonly int Misalignment => PageOffset & (Word - 1);

    /// <summary>How many words of eight bytes the guest's bytes take.</summary>
    public readonly int GuestWords
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Flags.HasFlag(RecordFlags.Movable) ? (int)((uint)(Misalignment + DecodedLength + Word - 1) / Word) : 0;
    }

    /// <summary>Bytes of a record with these counts.</summary>
    public readonly int Measure()
        => (sizeof(BlockRecord) + (GuestWords * Word) + (RelocationCount * sizeof(Relocation)) + ((MapCount + StubCount) * sizeof(ushort)) + Word - 1) & -Word;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong* GuestOf(BlockRecord* record) => (ulong*)(record + 1);

    public static byte* GuestBytesOf(BlockRecord* record) => (byte*)GuestOf(record) + record->Misalignment;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Relocation* RelocationsOf(BlockRecord* record) => (Relocation*)(GuestOf(record) + record->GuestWords);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort* MapOf(BlockRecord* record) => (ushort*)(RelocationsOf(record) + record->RelocationCount);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort* StubsOf(BlockRecord* record) => MapOf(record) + record->MapCount;
}

[Flags]
internal enum RecordFlags : ushort
{
    None = 0,

    /// <summary>As <see cref="Block.Locked"/>.</summary>
    Locked = 1,

    /// <summary>Guest bytes and relocations are there: the translation can be copied to serve elsewhere.</summary>
    Movable = 2,

    /// <summary>As <see cref="Relocations.Short"/>.</summary>
    Short = 4,

    /// <summary>There are relocations with <see cref="Relocation.Masked"/> bytes of the guest's, which may be any.</summary>
    Masked = 8,
}
