using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>
/// The TLB behind the first-level one (SDM vol. 3A, 4.10): direct-mapped, 4 KiB granules (larger pages are cached in
/// pieces). An entry is valid while its stamp is the current one of its PCID, or of the global pages; stamps are never
/// used twice, so that a change of CR3 costs nothing here and an entry needs no PCID of its own. It stands in native
/// memory: translated code searches it before it asks C#.
/// </summary>
internal sealed unsafe class SecondLevelTlb : IDisposable
{
    private const int Entries = NativePages.Entries;
    private const int PcidCount = 4096;

    /// <summary>Zero, and nobody has touched it yet: a guest that uses few pages needs few of them.</summary>
    private readonly HostArray<byte> _memory = new(sizeof(NativePages) + (Entries * sizeof(NativePage)));
    private readonly NativePages* _pages;
    private readonly NativePage* _entries;

    /// <summary>The stamp of each PCID's entries; 0: none given yet.</summary>
    private readonly ulong[] _pcidStamp = new ulong[PcidCount];
    private ulong _lastStamp = 1;
    private int _current;

    public SecondLevelTlb()
    {
        _pages = (NativePages*)Unsafe.AsPointer(ref _memory[0]);
        _entries = (NativePage*)(_pages + 1);
        _pages->Global = _lastStamp;
        _pages->Local = NativePages.NoStamp;
    }

    /// <summary>For emitted code.</summary>
    public NativePages* Native => _pages;

    /// <summary>The PCID whose pages translated code may use.</summary>
    public int Current
    {
        get => _current;
        set
        {
            _current = value;
            Publish();
        }
    }

    public void Dispose() => _memory.Dispose();

    /// <summary>The cached translation, or a null reference.</summary>
    public ref readonly CachedPage Find(ulong linear, int pcid)
    {
        ulong number = linear >> 12;
        NativePage* entry = _entries + (number % Entries);
        if (entry->PageNumber == number && entry->Stamp != 0
            && (entry->Stamp == _pcidStamp[pcid] || entry->Stamp == _pages->Global))
        {
            return ref entry->Page;
        }

        return ref Unsafe.NullRef<CachedPage>();
    }

    /// <param name="direct">As <see cref="NativePage.Direct"/>.</param>
    public void Insert(ulong linear, int pcid, in CachedPage page, ulong pageSize, byte direct = 0)
    {
        ulong stamp = (page.Rights & PageRights.Global) != 0 ? _pages->Global : StampOf(pcid);
        ulong number = linear >> 12;
        _entries[number % Entries] = new NativePage { PageNumber = number, Stamp = stamp, Page = page, Direct = direct };
        if (pageSize == PageWalker.Size1G)
        {
            _pages->GiantRegions[Half(linear)] |= 1ul << (int)((linear >> 30) & 63);
        }
        else if (pageSize != PageWalker.Size4K)
        {
            _pages->LargeRegions[LargeWord(linear)] |= 1ul << (int)((linear >> 22) & 63);
        }
    }

    public void FlushAll()
    {
        _pages->Global = ++_lastStamp;
        FlushNonGlobal();
        new Span<ulong>(_pages->LargeRegions, 2 * NativePages.LargeWords).Clear();
        new Span<ulong>(_pages->GiantRegions, 2).Clear();
    }

    /// <summary>All PCIDs, but not global pages.</summary>
    public void FlushNonGlobal()
    {
        Array.Clear(_pcidStamp);
        Publish();
    }

    public void FlushPcid(int pcid)
    {
        _pcidStamp[pcid] = 0;
        Publish();
    }

    /// <summary>One page, of every PCID and global.</summary>
    public void FlushPage(ulong linear)
    {
        ulong number = linear >> 12;
        NativePage* entry = _entries + (number % Entries);
        if (entry->PageNumber == number)
        {
            entry->Stamp = 0;
        }
    }

    /// <summary>Everything within the 4 MiB around an address: 1024 neighbouring entries.</summary>
    public void FlushRegion(ulong linear)
    {
        ulong region = linear >> 22;
        int first = (int)((region << 10) % Entries);
        foreach (ref NativePage entry in new Span<NativePage>(_entries + first, 1024))
        {
            if (entry.PageNumber >> 10 == region)
            {
                entry.Stamp = 0;
            }
        }
    }

    /// <summary>A 2 or 4 MiB page may be cached in pieces there.</summary>
    public bool MayHoldLargePage(ulong linear)
        => (_pages->LargeRegions[LargeWord(linear)] >> (int)((linear >> 22) & 63) & 1) != 0;

    /// <summary>A 1 GiB page may be cached in pieces there.</summary>
    public bool MayHoldGiantPage(ulong linear) => (_pages->GiantRegions[Half(linear)] >> (int)((linear >> 30) & 63) & 1) != 0;

    private static int Half(ulong linear) => (int)(linear >> 63);

    private static int LargeWord(ulong linear) => (Half(linear) * NativePages.LargeWords) + (int)((linear >> 28) & (NativePages.LargeWords - 1));

    private ulong StampOf(int pcid)
    {
        ref ulong stamp = ref _pcidStamp[pcid];
        if (stamp == 0)
        {
            stamp = ++_lastStamp;
            Publish();
        }

        return stamp;
    }

    private void Publish() => _pages->Local = _pcidStamp[_current] is var stamp and not 0 ? stamp : NativePages.NoStamp;
}
