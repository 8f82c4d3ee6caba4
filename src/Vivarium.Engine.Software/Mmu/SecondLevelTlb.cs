using System.Runtime.CompilerServices;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>
/// The TLB behind the first-level one (SDM vol. 3A, 4.10): direct-mapped, 4 KiB granules (larger pages are cached in
/// pieces). An entry is valid while its stamp is the current one of its PCID, or of the global pages; stamps are never
/// used twice, so that a change of CR3 costs nothing here and an entry needs no PCID of its own.
/// </summary>
internal sealed class SecondLevelTlb
{
    private const int Entries = 4096;
    private const int PcidCount = 4096;
    private const int LargeWords = 16;

    private readonly Entry[] _entries = new Entry[Entries];

    /// <summary>The stamp of each PCID's entries; 0: none given yet.</summary>
    private readonly ulong[] _pcidStamp = new ulong[PcidCount];
    private ulong _globalStamp = 1;
    private ulong _lastStamp = 1;

    // Where pieces of large pages may be cached, as hash bits of the 4 MiB and 1 GiB region, apart for the two halves of
    // the address space: kernels map all memory by large pages, and programs' pages must not be taken for those. Bits go
    // only with everything else.
    private readonly ulong[] _largeRegions = new ulong[2 * LargeWords];
    private readonly ulong[] _giantRegions = new ulong[2];

    private struct Entry
    {
        public ulong PageNumber;
        public ulong Stamp;
        public CachedPage Page;
    }

    /// <summary>The cached translation, or a null reference.</summary>
    public ref readonly CachedPage Find(ulong linear, int pcid)
    {
        ulong number = linear >> 12;
        ref Entry entry = ref _entries[(int)(number % Entries)];
        if (entry.PageNumber == number && entry.Stamp != 0
            && (entry.Stamp == _pcidStamp[pcid] || entry.Stamp == _globalStamp))
        {
            return ref entry.Page;
        }

        return ref Unsafe.NullRef<CachedPage>();
    }

    public void Insert(ulong linear, int pcid, in CachedPage page, ulong pageSize)
    {
        ulong stamp = (page.Rights & PageRights.Global) != 0 ? _globalStamp : StampOf(pcid);
        ulong number = linear >> 12;
        _entries[(int)(number % Entries)] = new Entry { PageNumber = number, Stamp = stamp, Page = page };
        if (pageSize == PageWalker.Size1G)
        {
            _giantRegions[Half(linear)] |= 1ul << (int)((linear >> 30) & 63);
        }
        else if (pageSize != PageWalker.Size4K)
        {
            _largeRegions[LargeWord(linear)] |= 1ul << (int)((linear >> 22) & 63);
        }
    }

    public void FlushAll()
    {
        _globalStamp = ++_lastStamp;
        FlushNonGlobal();
        Array.Clear(_largeRegions);
        Array.Clear(_giantRegions);
    }

    /// <summary>All PCIDs, but not global pages.</summary>
    public void FlushNonGlobal() => Array.Clear(_pcidStamp);

    public void FlushPcid(int pcid) => _pcidStamp[pcid] = 0;

    /// <summary>One page, of every PCID and global.</summary>
    public void FlushPage(ulong linear)
    {
        ulong number = linear >> 12;
        ref Entry entry = ref _entries[(int)(number % Entries)];
        if (entry.PageNumber == number)
        {
            entry.Stamp = 0;
        }
    }

    /// <summary>Everything within the 4 MiB around an address: 1024 neighbouring entries.</summary>
    public void FlushRegion(ulong linear)
    {
        ulong region = linear >> 22;
        int first = (int)((region << 10) % Entries);
        foreach (ref Entry entry in _entries.AsSpan(first, 1024))
        {
            if (entry.PageNumber >> 10 == region)
            {
                entry.Stamp = 0;
            }
        }
    }

    /// <summary>A 2 or 4 MiB page may be cached in pieces there.</summary>
    public bool MayHoldLargePage(ulong linear)
        => (_largeRegions[LargeWord(linear)] >> (int)((linear >> 22) & 63) & 1) != 0;

    /// <summary>A 1 GiB page may be cached in pieces there.</summary>
    public bool MayHoldGiantPage(ulong linear) => (_giantRegions[Half(linear)] >> (int)((linear >> 30) & 63) & 1) != 0;

    private static int Half(ulong linear) => (int)(linear >> 63);

    private static int LargeWord(ulong linear) => (Half(linear) * LargeWords) + (int)((linear >> 28) & (LargeWords - 1));

    private ulong StampOf(int pcid)
    {
        ref ulong stamp = ref _pcidStamp[pcid];
        if (stamp == 0)
        {
            stamp = ++_lastStamp;
        }

        return stamp;
    }
}
