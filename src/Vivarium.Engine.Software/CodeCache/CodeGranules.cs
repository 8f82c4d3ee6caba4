using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// Which bytes of guest memory have been translated: for each page a word with one bit per 64 bytes (a granule). Changed
/// under the lock of <see cref="SharedCode"/>; read by translated code and by everybody who writes, without a lock.
/// </summary>
internal sealed unsafe class CodeGranules(GuestMemory memory) : IDisposable
{
    /// <summary>All of a page: while it is being translated, nobody knows yet which bytes will be.</summary>
    public const ulong Everything = ulong.MaxValue;

    /// <summary>log2 of a granule's bytes, and of a word's bytes for a page's.</summary>
    public const int GranuleShift = 6;
    public const int PageToWordShift = GuestMemory.PageShift - 3;

    /// <summary>Zero pages of the host until written.</summary>
    private readonly ulong* _words = (ulong*)NativeMemory.AllocZeroed((nuint)(memory.Capacity >> GuestMemory.PageShift), sizeof(ulong));

    /// <summary>Where a page's word stands is this plus the host address of the page, shifted right by <see cref="PageToWordShift"/>.</summary>
    public ulong Bias => (ulong)_words - ((ulong)memory.Host >> PageToWordShift);

    /// <summary>The word of a page, by any address in it; null where there is no memory.</summary>
    public ulong* Find(ulong gpa)
        => memory.Find(gpa) is { } slot ? _words + (((ulong)slot.HostOffset + gpa - slot.Start) >> GuestMemory.PageShift) : null;

    /// <summary>True if any of the bytes may have been translated, or are being. Who has written them makes sure before that the bytes are visible.</summary>
    public bool Touch(ulong gpa, int size)
    {
        while (size > 0)
        {
            int part = (int)Math.Min((ulong)size, GuestMemory.PageSize - (gpa & GuestMemory.PageMask));
            ulong* word = Find(gpa);
            if (word != null && (Volatile.Read(ref *word) & Mask(gpa, part)) != 0)
            {
                return true;
            }

            gpa += (ulong)part;
            size -= part;
        }

        return false;
    }

    /// <summary>The granules of bytes within one page.</summary>
    public static ulong Mask(ulong gpa, int size)
    {
        int first = (int)(gpa & GuestMemory.PageMask) >> GranuleShift;
        int last = (int)Math.Min(63, ((long)(gpa & GuestMemory.PageMask) + size - 1) >> GranuleShift);
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }

    public void Dispose() => NativeMemory.Free(_words);
}
