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

/// <summary>What stands before the entries of the second-level TLB: the stamps of those that are valid now.</summary>
[StructLayout(LayoutKind.Sequential, Size = NativePage.Size)]
internal struct NativePages
{
    public const int Entries = 4096;

    /// <summary>Of the pages of the current PCID that are not global; <see cref="NoStamp"/> while it has none.</summary>
    public ulong Local;

    /// <summary>Of global pages.</summary>
    public ulong Global;

    public const ulong NoStamp = ulong.MaxValue;
}
