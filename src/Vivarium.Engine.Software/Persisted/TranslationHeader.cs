using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// What a file of translations begins with. Behind it stand the checksums of the index's pages (4 bytes each), the index (slots of 8 bytes: key
/// in the upper half, in the lower the entry's offset in units of 8, plus one; zero is free; open addressing), the ages (2 bytes for each
/// entry, in order: <see cref="Run"/> of its last use), and the entries: a <see cref="CodeCache.BlockRecord"/>, then the code, padded to 8.
/// Each page of the index has a checksum of its own, so that a machine that starts need not read all of it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TranslationHeader
{
    public const ulong ExpectedMagic = 0x0045_444F_4356_4956; // "VIVCODE"
    public const uint ExpectedVersion = 2;

    /// <summary>What each part begins at a multiple of.</summary>
    public const int Alignment = 64;

    /// <summary>Slots in a page of the index, of 4 KiB; a smaller index is one page.</summary>
    public const uint SlotsInPage = 512;

    public ulong Magic;
    public uint Version;

    /// <summary>Over the rest of the header and the checksums behind it (the lower half of XXH3).</summary>
    public uint Checksum;

    public Identity Identity;

    /// <summary>Bytes of the whole file.</summary>
    public long Length;

    /// <summary>A power of two, at least twice the entries.</summary>
    public uint SlotCount;
    public uint EntryCount;

    /// <summary>Bytes.</summary>
    public long EntriesLength;

    /// <summary>Counts how often the file was written.</summary>
    public ushort Run;

    public static unsafe long ChecksumsOffset => Align(sizeof(TranslationHeader));

    public readonly uint IndexPages => (SlotCount + SlotsInPage - 1) / SlotsInPage;

    public readonly long SlotsOffset => Align(ChecksumsOffset + (IndexPages * 4L));

    public readonly long AgesOffset => Align(SlotsOffset + (SlotCount * 8L));

    public readonly long EntriesOffset => Align(AgesOffset + (EntryCount * 2L));

    private static long Align(long offset) => (offset + Alignment - 1) & -Alignment;
}
