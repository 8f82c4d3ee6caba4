using System.Numerics;
using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// Where jumps of floating code to other pages, and most of programs' indirect calls and some of their indirect jumps, look first: by the place of the jump,
/// which needs no hash when it runs, and leads behind the landing (<see cref="CodeCache.Block.Body"/>). Filled from the jump cache of programs, and emptied with it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeJumpSites
{
    public const int Entries = 2048;

    /// <summary>Binary logarithm of an entry's bytes.</summary>
    public const int EntryShift = 4;

    /// <summary>Where the counts of misses begin.</summary>
    public const int MissesOffset = Entries << EntryShift;

    /// <summary>To fill an entry costs some times more than to ask the jump cache: where a jump has several targets it is not done each time.</summary>
    public const int MostMisses = 31;

    /// <summary>No jump's target: not canonical, and as <see cref="NativeStackPage.NoPage"/> one that the guest cannot know.</summary>
    public static readonly ulong NoRip = NativeStackPage.NoPage;

    private const ulong PageSize = GuestMemory.PageSize;

    /// <summary>Pairs: RIP, address of a block's body.</summary>
    private fixed ulong _entry[Entries * 2];

    /// <summary>How often an indirect jump or call may still go elsewhere before its entry is filled anew.</summary>
    private fixed byte _misses[Entries];

    /// <summary>In bytes, where the entry of a jump stands: the same wherever its page is mapped.</summary>
    public static int PlaceOf(ulong rip, ulong target)
        => (int)(BitOperations.Crc32C(BitOperations.Crc32C(0, rip & GuestMemory.PageMask), target - rip) & (Entries - 1)) << EntryShift;

    /// <summary>Where the count of misses of an entry stands, by the entry's place.</summary>
    public static int MissesOf(int place) => MissesOffset + (place >> EntryShift);

    public void Flush()
    {
        for (int index = 0; index < Entries; index++)
        {
            Empty(index);
        }
    }

    /// <summary>The same, of the entries in a list only.</summary>
    public void Flush(NativeFilled* filled)
    {
        for (ulong i = 0; i < filled->Count; i++)
        {
            Empty((int)filled->Items[i] >> EntryShift);
        }
    }

    /// <summary>Forgets what begins in a page, or in the one before it: it may reach into the page.</summary>
    public void DropPage(ulong linear)
    {
        for (int index = 0; index < Entries; index++)
        {
            DropPage(linear, index);
        }
    }

    /// <summary>The same, among the entries in a list only.</summary>
    public void DropPage(ulong linear, NativeFilled* filled)
    {
        for (ulong i = 0; i < filled->Count; i++)
        {
            DropPage(linear, (int)filled->Items[i] >> EntryShift);
        }
    }

    /// <summary>Forgets a translation. Callable from any thread; the vCPU may be jumping by the entry: its code address stays.</summary>
    public void Drop(byte* body)
    {
        for (int index = 0; index < Entries; index++)
        {
            if (_entry[(index * 2) + 1] == (ulong)body)
            {
                Empty(index);
            }
        }
    }

    private void DropPage(ulong linear, int index)
    {
        if ((linear & ~GuestMemory.PageMask) - (_entry[index * 2] & ~GuestMemory.PageMask) <= PageSize)
        {
            Empty(index);
        }
    }

    private void Empty(int index)
    {
        Volatile.Write(ref _entry[index * 2], NoRip);
        _misses[index] = 0;
    }
}
