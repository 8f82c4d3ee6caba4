using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// Which guest-physical bytes have been translated, per page and in granules (<see cref="CodeGranules"/>), so that data
/// which shares a page with code can be written without throwing code away.
/// </summary>
internal sealed unsafe class CodePages(GuestMemory memory, CodeGranules granules) : IDisposable
{
    /// <summary>A page that loses blocks so many times in a row is being overwritten: the rest goes at once. Fewer would take the code of a kernel that patches itself.</summary>
    private const int LossesOfAPageThatDies = 64;

    private readonly Dictionary<ulong, CodePage> _pages = [];

    /// <summary>The one that was asked for last: for each translation there are several questions.</summary>
    private CodePage? _last;
    private readonly Chains<Block> _blocks = new();

    /// <summary>
    /// To be called before a page's bytes are read for a translation: whoever writes to the page from now on says so, and
    /// until <see cref="Close"/> all its bytes count as translated.
    /// </summary>
    /// <param name="gpa">Any address in the page.</param>
    /// <param name="first">The page was not watched before: write tags for it must go.</param>
    /// <param name="beside">There may be tags for writes beside its code: they must go.</param>
    public CodePage Open(ulong gpa, out bool first, out bool beside)
    {
        ulong number = gpa >> GuestMemory.PageShift;
        CodePage? page = Find(number);
        first = page is null;
        if (page is null)
        {
            page = new CodePage(number, granules.Find(gpa), FlagsOf(gpa));
            _pages.Add(number, page);
            SetFlag(page, true);
        }

        beside = Open(page);
        if (beside)
        {
            SlotFlags.Clear(page.Flags, PageFlags.WrittenBesideCode);
        }

        return page;
    }

    /// <summary>As <see cref="Open(ulong, out bool, out bool)"/> where no tags must go, nor are about to; null: there may be some.</summary>
    public CodePage? OpenAtOnce(ulong gpa)
    {
        if (Find(gpa >> GuestMemory.PageShift) is not { Unsettled: false } page)
        {
            return null;
        }

        if (Open(page))
        {
            Close(page);
            return null;
        }

        return page;
    }

    public void Close(CodePage page)
    {
        page.Translators--;
        if (!page.Gone)
        {
            page.Publish();
            DropIfUnused(page);
        }
    }

    /// <summary>Enters a block; its pages are watched.</summary>
    public void Add(Block block)
    {
        int first = FirstPart(block);
        Add(block, block.Key.Gpa, first);
        if (block.SecondPage != Block.NoPage)
        {
            Add(block, block.SecondPage, block.GuestLength - first);
        }
    }

    /// <summary>True if a page is just being translated from.</summary>
    public bool IsOpen(ulong gpa)
        => _pages.TryGetValue(gpa >> GuestMemory.PageShift, out CodePage? page) && page.Translators != 0;

    /// <summary>True if the block whose translation holds a host address would be among those that <see cref="Remove"/> takes for bytes of one page.</summary>
    public bool WouldRemove(byte* hostPc, ulong gpa, int size, bool wholePages)
    {
        if (hostPc != null && _pages.TryGetValue(gpa >> GuestMemory.PageShift, out CodePage? page))
        {
            for (int link = page.Blocks; link != Chain.None; link = _blocks.After(link))
            {
                Block block = _blocks[link];
                if ((ulong)(hostPc - block.Code) < (ulong)block.CodeLength)
                {
                    return Covers(block, gpa, size) || IsDying(page, wholePages);
                }
            }
        }

        return false;
    }

    /// <summary>Takes out the blocks made from any of the bytes; null if there are none.</summary>
    /// <param name="wholePages">May take all blocks of a page: no other vCPU is in one of them.</param>
    public List<Block>? Remove(ulong gpa, int size, bool wholePages)
    {
        List<Block>? hit = null;
        while (size > 0)
        {
            int part = (int)Math.Min((ulong)size, GuestMemory.PageSize - (gpa & GuestMemory.PageMask));
            RemoveInPage(gpa, part, wholePages, ref hit);
            gpa += (ulong)part;
            size -= part;
        }

        return hit;
    }

    /// <summary>
    /// Other memory stands in a range now, or none: takes out all blocks made from any of it. Whoever is just translating
    /// from there holds on to a page that is no longer ours.
    /// </summary>
    public List<Block> ForgetRange(ulong start, ulong length)
    {
        List<Block> hit = [];
        foreach (CodePage page in _pages.Values.Where(page => (page.Number << GuestMemory.PageShift) - start < length).ToArray())
        {
            for (int link = page.Blocks; link != Chain.None; link = _blocks.After(link))
            {
                Block block = _blocks[link];
                hit.Add(block);
                if (block.SecondPage != Block.NoPage)
                {
                    ulong first = block.Key.Gpa >> GuestMemory.PageShift;
                    Forget(block, first == page.Number ? block.SecondPage >> GuestMemory.PageShift : first);
                }
            }

            Release(page);
            Remove(page);
        }

        return hit;
    }

    public void Clear()
    {
        foreach (CodePage page in _pages.Values)
        {
            Release(page);
        }

        _pages.Clear();
        _last = null;
    }

    public void Dispose() => _blocks.Dispose();

    private void Release(CodePage page)
    {
        SetFlag(page, false);
        _blocks.Clear(ref page.Blocks);
        page.Granules = 0;
        page.Translators = 0;
        page.Gone = true;
        page.Publish();
    }

    private static int FirstPart(Block block)
        => block.SecondPage == Block.NoPage
            ? block.GuestLength
            : (int)(GuestMemory.PageSize - (block.Key.Gpa & GuestMemory.PageMask));

    private static bool Covers(Block block, ulong gpa, int size)
    {
        int first = FirstPart(block);
        return Intersects(block.Key.Gpa, first, gpa, size)
            || (block.SecondPage != Block.NoPage && Intersects(block.SecondPage, block.GuestLength - first, gpa, size));
    }

    private static bool IsDying(CodePage page, bool wholePages) => wholePages && page.Losses >= LossesOfAPageThatDies;

    private static bool Intersects(ulong a, int aSize, ulong b, int bSize) => a < b + (ulong)bSize && b < a + (ulong)aSize;

    private static ulong MaskIn(Block block, ulong number)
    {
        int first = FirstPart(block);
        return block.Key.Gpa >> GuestMemory.PageShift == number
            ? CodeGranules.Mask(block.Key.Gpa, first)
            : CodeGranules.Mask(block.SecondPage, block.GuestLength - first);
    }

    private void Add(Block block, ulong gpa, int size)
    {
        CodePage page = Find(gpa >> GuestMemory.PageShift)!;
        _blocks.Add(ref page.Blocks, block);
        page.Granules |= CodeGranules.Mask(gpa, size);
        page.Publish();
    }

    private void RemoveInPage(ulong gpa, int size, bool wholePages, ref List<Block>? hit)
    {
        if (!_pages.TryGetValue(gpa >> GuestMemory.PageShift, out CodePage? page) || (page.Granules & CodeGranules.Mask(gpa, size)) == 0)
        {
            return;
        }

        int before = hit?.Count ?? 0;
        bool all = IsDying(page, wholePages);
        ulong left = 0;
        for (ref int link = ref page.Blocks; link != Chain.None;)
        {
            Block block = _blocks[link];
            if (all || Covers(block, gpa, size))
            {
                (hit ??= []).Add(block);
                _blocks.Take(ref link);
            }
            else
            {
                left |= MaskIn(block, page.Number);
                link = ref _blocks.Behind(link);
            }
        }

        if ((hit?.Count ?? 0) == before)
        {
            return;
        }

        page.Granules = left;
        page.Losses++;
        page.Publish();
        DropIfUnused(page);
        foreach (Block block in CollectionsMarshal.AsSpan(hit)[before..])
        {
            if (block.SecondPage != Block.NoPage)
            {
                ulong first = block.Key.Gpa >> GuestMemory.PageShift;
                Forget(block, first == page.Number ? block.SecondPage >> GuestMemory.PageShift : first);
            }
        }
    }

    /// <summary>Takes a block that crosses pages out of the other one.</summary>
    private void Forget(Block block, ulong number)
    {
        if (!_pages.TryGetValue(number, out CodePage? page) || !_blocks.Remove(ref page.Blocks, block))
        {
            return;
        }

        page.Granules = 0;
        for (int link = page.Blocks; link != Chain.None; link = _blocks.After(link))
        {
            page.Granules |= MaskIn(_blocks[link], number);
        }

        page.Publish();
        DropIfUnused(page);
    }

    private void DropIfUnused(CodePage page)
    {
        if (page.Blocks == Chain.None && page.Translators == 0)
        {
            Remove(page);
            SetFlag(page, false);
        }
    }

    private void Remove(CodePage page)
    {
        _pages.Remove(page.Number);
        _last = null;
    }

    private CodePage? Find(ulong number)
    {
        if (_last is { } last && last.Number == number)
        {
            return last;
        }

        if (_pages.TryGetValue(number, out CodePage? page))
        {
            _last = page;
        }

        return page;
    }

    /// <summary>True: there may be tags for writes beside its code.</summary>
    private static bool Open(CodePage page)
    {
        page.Translators++;
        page.Losses = 0;
        page.Publish();

        // Who has entered such a tag sets the flag and then looks at the granules; here it is the other way round.
        Interlocked.MemoryBarrier();
        return page.Flags != null && (Volatile.Read(ref *(byte*)page.Flags) & (byte)PageFlags.WrittenBesideCode) != 0;
    }

    private static void SetFlag(CodePage page, bool code)
    {
        if (page.Flags == null)
        {
            return;
        }

        if (code)
        {
            SlotFlags.Set(page.Flags, PageFlags.Code);
        }
        else
        {
            SlotFlags.Clear(page.Flags, PageFlags.Code);
        }
    }

    private PageFlags* FlagsOf(ulong gpa)
        => memory.Find(gpa) is { } slot ? slot.Flags + ((gpa - slot.Start) >> GuestMemory.PageShift) : null;
}
