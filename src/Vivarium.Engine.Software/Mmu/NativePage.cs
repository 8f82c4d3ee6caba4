using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>An entry of the second-level TLB, as emitted code reads it.</summary>
[StructLayout(LayoutKind.Sequential, Size = Size)]
internal struct NativePage
{
    public const int SizeShift = 6;
    public const int Size = 1 << SizeShift;

    /// <summary>Linear address without the offset in the page, divided by 4096.</summary>
    public ulong PageNumber;

    /// <summary>Whose entry it is: see <see cref="NativePages"/>; 0 if nobody's.</summary>
    public ulong Stamp;

    public CachedPage Page;

    /// <summary>Which accesses need nothing but the page's flags to be looked at: see <see cref="DirectBit"/>.</summary>
    public byte Direct;

    public static byte DirectBit(AddressSpace space, bool write) => (byte)(1 << (((int)space * 2) + (write ? 1 : 0)));
}

/// <summary>
/// What stands before the entries of the second-level TLB: the stamps of those that are valid now, and what
/// <see cref="Translate.PageWalkThunk"/> has to know to make more.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 8 * NativePage.Size)]
internal unsafe struct NativePages
{
    public const int Entries = 4096;
    public const int LargeWords = 16;
    public const int RightsCount = 32;

    /// <summary>Of the pages of the current PCID that are not global; <see cref="NoStamp"/> while it has none.</summary>
    public ulong Local;

    /// <summary>Of global pages.</summary>
    public ulong Global;

    /// <summary>Host address of the table that CR3 points to; 0: walks are for the monitor.</summary>
    public ulong Root;

    /// <summary>Bits that are reserved in every entry.</summary>
    public ulong Reserved;

    /// <summary>An entry's address bits.</summary>
    public ulong FrameMask;

    /// <summary>RAM below and above 4 GiB; a length of 0 if there is none.</summary>
    public ulong LowStart, LowLength, LowHost, HighStart, HighLength, HighHost;

    /// <summary>Added to a page's host address divided by 4096 for the address of its flags.</summary>
    public ulong FlagsBias;

    /// <summary>As <see cref="NativePage.Direct"/>, by the page's rights.</summary>
    public fixed byte DirectAccesses[RightsCount];

    // Where pieces of large pages may be cached, as hash bits of the 4 MiB and 1 GiB region, apart for the two halves of
    // the address space: kernels map all memory by large pages, and programs' pages must not be taken for those. Bits go
    // only with everything else.
    public fixed ulong LargeRegions[2 * LargeWords];
    public fixed ulong GiantRegions[2];

    /// <summary><see cref="PageRights.Global"/> if CR4.PGE is set, else 0.</summary>
    public uint GlobalPages;

    public const ulong NoStamp = ulong.MaxValue;

    public delegate void* Field(NativePages* pages);

    /// <summary>How far from the beginning a field stands.</summary>
    public static int Offset(Field field)
    {
        NativePages sample;
        return (int)((byte*)field(&sample) - (byte*)&sample);
    }
}
