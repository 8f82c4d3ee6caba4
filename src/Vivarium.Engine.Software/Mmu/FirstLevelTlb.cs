namespace Vivarium.Engine.Software.Mmu;

/// <summary>Filling and emptying of the TLBs and jump caches that translated code reads (SDM vol. 3A, 4.10.4).</summary>
internal static unsafe class FirstLevelTlb
{
    public const int BesideBit = 12;
    public const int BesideMark = 1;

    private const ulong PageMask = 0xFFF;

    /// <summary>No access matches: bit 63 alone is not canonical, and entry 0, where it would be indexed, gets another page.</summary>
    public const ulong Invalid = 0x8000_0000_0000_0000;
    public const ulong InvalidForEntry0 = Invalid | 0x1000;

    /// <summary>An executed page that has its place at the last index only.</summary>
    private const ulong NoPage = ulong.MaxValue;

    /// <summary>Negated RIP 1.</summary>
    private const ulong EmptyJump = unchecked((ulong)-1);

    public static int Index(ulong linear) => (int)(linear >> 12) & (NativeTlb.Entries - 1);

    /// <summary>Where an address's page has its place.</summary>
    public static NativeTlbEntry* EntryOf(NativeTlb* tlb, ulong linear) => NativeTlb.EntriesOf(tlb) + Index(linear);

    public static void Fill(NativeTlb* tlb, ulong linear, byte* hostPage, bool writable)
    {
        ulong page = linear & ~PageMask;
        Fill(EntryOf(tlb, linear), page, hostPage, writable ? page : InvalidTag(Index(linear)));
    }

    /// <summary>The page may be read, and written where no granule is set (see <see cref="BesideTag"/>).</summary>
    public static void FillBesideCode(NativeTlb* tlb, ulong linear, byte* hostPage)
    {
        ulong page = linear & ~PageMask;
        Fill(EntryOf(tlb, linear), page, hostPage, BesideTag(page));
    }

    /// <summary>
    /// A write tag that no access matches, but by which the miss routine (<see cref="Translate.Thunks.Resolve"/>) knows a
    /// page with code: bit 12 is not the page's, so that all addresses that it would match, canonical or not, are looked for in
    /// the entry beside it; and bit 0, which no other tag has, tells it from theirs.
    /// </summary>
    public static ulong BesideTag(ulong page) => (page ^ (1ul << BesideBit)) | BesideMark;

    /// <summary>The host address of a byte whose page is cached for the access, or null. The caller stays within the page.</summary>
    public static byte* Find(NativeTlb* tlb, ulong linear, Access access)
    {
        NativeTlbEntry* entry = EntryOf(tlb, linear);
        ulong tag = access == Access.Write ? entry->WriteTag : entry->ReadTag;
        return tag == (linear & ~PageMask) ? (byte*)(entry->HostPage + (linear & PageMask)) : null;
    }

    public static void Flush(NativeTlb* tlb)
    {
        NativeTlbEntry* entries = NativeTlb.EntriesOf(tlb);
        new Span<NativeTlbEntry>(entries, NativeTlb.Entries).Fill(new NativeTlbEntry { ReadTag = Invalid, WriteTag = Invalid });
        entries->ReadTag = InvalidForEntry0;
        entries->WriteTag = InvalidForEntry0;
    }

    public static void FlushPage(NativeTlb* tlb, ulong linear) => Drop(tlb, Index(linear), linear, ~PageMask);

    /// <summary>Everything within the 4 MiB around an address.</summary>
    public static void FlushRegion(NativeTlb* tlb, ulong linear)
    {
        for (int index = 0; index < NativeTlb.Entries; index++)
        {
            Drop(tlb, index, linear, ~(PageWalker.Size4M - 1));
        }
    }

    /// <summary>The next write to a host page must come to C#. Returns true if one might have gone without. Callable from any thread.</summary>
    public static bool FlushWrites(NativeTlb* tlb, byte* hostPage)
    {
        bool any = false;
        NativeTlbEntry* entry = NativeTlb.EntriesOf(tlb);
        for (int index = 0; index < NativeTlb.Entries; index++, entry++)
        {
            if (entry->HostPage == (ulong)hostPage)
            {
                any |= entry->WriteTag != InvalidTag(index);
                entry->WriteTag = InvalidTag(index);
            }
        }

        return any;
    }

    /// <summary>Takes back the write tag of an address that was just filled.</summary>
    public static void FlushWrite(NativeTlb* tlb, ulong linear) => EntryOf(tlb, linear)->WriteTag = InvalidTag(Index(linear));

    /// <summary>The next write to any page must come to C# (the dirty log begins anew).</summary>
    public static void FlushWrites(NativeTlb* tlb)
    {
        NativeTlbEntry* entry = NativeTlb.EntriesOf(tlb);
        for (int index = 0; index < NativeTlb.Entries; index++, entry++)
        {
            entry->WriteTag = InvalidTag(index);
        }
    }

    /// <summary>RIP 1 has its place at one index only, where RIP 0, whose place is index 0, stands instead: neither can be found.</summary>
    public static void Flush(NativeJumpCache* jumps, AddressSpace space)
    {
        // The first ulong of each pair is the low half.
        new Span<UInt128>(jumps->Entry, NativeJumpCache.EntriesOf(space)).Fill(new UInt128(0, EmptyJump));
        jumps->Entry[NativeJumpCache.IndexOf(1, space) * 2] = 0;
    }

    /// <summary>The same, of the entries in a list only.</summary>
    public static void Flush(NativeJumpCache* jumps, AddressSpace space, NativeFilled* filled)
    {
        ulong* entries = jumps->Entry;
        for (ulong i = 0; i < filled->Count; i++)
        {
            entries[filled->Items[i] / sizeof(ulong)] = EmptyJump;
        }

        entries[NativeJumpCache.IndexOf(1, space) * 2] = 0;
    }

    /// <summary>Forgets what begins in a page, or in the one before it: it may reach into the page.</summary>
    public static void DropPage(NativeJumpCache* jumps, AddressSpace space, ulong linear)
    {
        for (int index = 0; index < NativeJumpCache.EntriesOf(space); index++)
        {
            DropPage(jumps, space, index, linear);
        }
    }

    /// <summary>The same, among the entries in a list only.</summary>
    public static void DropPage(NativeJumpCache* jumps, AddressSpace space, ulong linear, NativeFilled* filled)
    {
        for (ulong i = 0; i < filled->Count; i++)
        {
            DropPage(jumps, space, (int)filled->Items[i] >> NativeJumpCache.EntryShift, linear);
        }
    }

    /// <summary>Forgets one translation. The vCPU may be jumping by this entry: its code address stays.</summary>
    public static void Drop(NativeJumpCache* jumps, AddressSpace space, ulong rip, byte* code)
    {
        Drop(jumps, space, NativeJumpCache.IndexOf(rip, space), code);
    }

    /// <summary>Forgets a translation wherever it is found. Callable from any thread.</summary>
    public static void Drop(NativeJumpCache* jumps, AddressSpace space, byte* code)
    {
        for (int index = 0; index < NativeJumpCache.EntriesOf(space); index++)
        {
            Drop(jumps, space, index, code);
        }
    }

    public static void Flush(NativeExecutedPages* pages)
    {
        new Span<ulong>(pages->Entry, NativeExecutedPages.Entries).Fill(NoPage);
        pages->Entry[NativeExecutedPages.Entries - 1] = 0;
        new Span<ulong>(pages->Seen, 2 * NativeExecutedPages.SeenWords).Clear();
    }

    /// <summary>Code of a page may enter a jump cache.</summary>
    public static void NoteSeen(NativeExecutedPages* pages, ulong linear)
    {
        int bit = NativeExecutedPages.SeenBit(linear);
        pages->Seen[bit >> 6] |= 1ul << bit;
    }

    /// <summary>Code of the page may be in a jump cache.</summary>
    public static bool MayBeSeen(NativeExecutedPages* pages, ulong linear)
    {
        int bit = NativeExecutedPages.SeenBit(linear);
        return (pages->Seen[bit >> 6] >> bit & 1) != 0;
    }

    /// <summary>Code of the address's half of the address space may be in a jump cache.</summary>
    public static bool AnySeen(NativeExecutedPages* pages, ulong linear)
        => new ReadOnlySpan<ulong>(pages->Seen + ((int)(linear >> 63) * NativeExecutedPages.SeenWords), NativeExecutedPages.SeenWords)
            .ContainsAnyExcept(0ul);

    public static void FlushPage(NativeExecutedPages* pages, ulong linear)
    {
        int index = NativeExecutedPages.IndexOf(linear);
        if ((pages->Entry[index] ^ NativeExecutedPages.LinearPart(linear)) >> NativeExecutedPages.PhysicalBits == 0)
        {
            pages->Entry[index] = index == NativeExecutedPages.Entries - 1 ? 0 : NoPage;
        }
    }

    private static void DropPage(NativeJumpCache* jumps, AddressSpace space, int index, ulong linear)
    {
        const ulong pageSize = PageMask + 1;
        ulong rip = 0 - jumps->Entry[index * 2];
        if ((linear & ~PageMask) - (rip & ~PageMask) <= pageSize)
        {
            Empty(jumps, space, index);
        }
    }

    private static void Drop(NativeJumpCache* jumps, AddressSpace space, int index, byte* code)
    {
        if (jumps->Entry[(index * 2) + 1] == (ulong)code)
        {
            Empty(jumps, space, index);
        }
    }

    private static void Empty(NativeJumpCache* jumps, AddressSpace space, int index)
        => Volatile.Write(ref jumps->Entry[index * 2], index == NativeJumpCache.IndexOf(1, space) ? 0 : EmptyJump);

    private static void Drop(NativeTlb* tlb, int index, ulong linear, ulong mask)
    {
        NativeTlbEntry* entry = NativeTlb.EntriesOf(tlb) + index;
        if (((entry->ReadTag ^ linear) & mask) == 0)
        {
            entry->ReadTag = InvalidTag(index);
            entry->WriteTag = InvalidTag(index);
        }
    }

    private static void Fill(NativeTlbEntry* entry, ulong page, byte* hostPage, ulong writeTag)
    {
        entry->HostPage = (ulong)hostPage;
        entry->Delta = (ulong)hostPage - page;
        entry->ReadTag = page;
        entry->WriteTag = writeTag;
    }

    private static ulong InvalidTag(int index) => index == 0 ? InvalidForEntry0 : Invalid;
}
