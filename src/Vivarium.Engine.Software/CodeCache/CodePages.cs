using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// Which guest-physical bytes have been translated, per page and in 64-byte granules, so that data which shares a page
/// with code can be written without throwing code away.
/// </summary>
internal sealed unsafe class CodePages(GuestMemory memory)
{
    private readonly Dictionary<ulong, CodePage> _pages = [];

    /// <summary>
    /// To be called before a page's bytes are read for a translation: whoever writes to the page from now on says so, and
    /// until <see cref="Close"/> all its bytes count as translated.
    /// </summary>
    /// <param name="gpa">Any address in the page.</param>
    /// <param name="first">The page was not watched before: write tags for it must go.</param>
    public CodePage Open(ulong gpa, out bool first)
    {
        ulong number = gpa >> GuestMemory.PageShift;
        first = !_pages.TryGetValue(number, out CodePage? page);
        if (page is null)
        {
            page = new CodePage(number);
            _pages.Add(number, page);
            SetFlag(number, true);
        }

        page.Translators++;
        return page;
    }

    public void Close(CodePage page)
    {
        page.Translators--;
        DropIfUnused(page);
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

    /// <summary>True if any of the bytes may have been translated (granule precision). The range lies in one page.</summary>
    public bool Overlaps(ulong gpa, int size)
        => _pages.TryGetValue(gpa >> GuestMemory.PageShift, out CodePage? page)
            && (page.Translators != 0 || (page.Granules & Mask(gpa, size)) != 0);

    /// <summary>Takes out the blocks made from any of the bytes; null if there are none.</summary>
    public List<Block>? Remove(ulong gpa, int size)
    {
        List<Block>? hit = null;
        while (size > 0)
        {
            int part = (int)Math.Min((ulong)size, GuestMemory.PageSize - (gpa & GuestMemory.PageMask));
            RemoveInPage(gpa, part, ref hit);
            gpa += (ulong)part;
            size -= part;
        }

        if (hit is not null)
        {
            foreach (Block block in hit)
            {
                Forget(block, block.Key.Gpa >> GuestMemory.PageShift);
                if (block.SecondPage != Block.NoPage)
                {
                    Forget(block, block.SecondPage >> GuestMemory.PageShift);
                }
            }
        }

        return hit;
    }

    public void Clear()
    {
        foreach (ulong number in _pages.Keys)
        {
            SetFlag(number, false);
        }

        _pages.Clear();
    }

    private static int FirstPart(Block block)
        => block.SecondPage == Block.NoPage
            ? block.GuestLength
            : (int)(GuestMemory.PageSize - (block.Key.Gpa & GuestMemory.PageMask));

    private static ulong Mask(ulong gpa, int size)
    {
        int first = (int)(gpa & GuestMemory.PageMask) >> 6;
        int last = (int)Math.Min(63, ((long)(gpa & GuestMemory.PageMask) + size - 1) >> 6);
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - last));
    }

    private static bool Covers(Block block, ulong gpa, int size)
    {
        int first = FirstPart(block);
        return Intersects(block.Key.Gpa, first, gpa, size)
            || (block.SecondPage != Block.NoPage && Intersects(block.SecondPage, block.GuestLength - first, gpa, size));
    }

    private static bool Intersects(ulong a, int aSize, ulong b, int bSize) => a < b + (ulong)bSize && b < a + (ulong)aSize;

    private void Add(Block block, ulong gpa, int size)
    {
        CodePage page = _pages[gpa >> GuestMemory.PageShift];
        page.Blocks.Add(block);
        page.Granules |= Mask(gpa, size);
    }

    private void RemoveInPage(ulong gpa, int size, ref List<Block>? hit)
    {
        if (!_pages.TryGetValue(gpa >> GuestMemory.PageShift, out CodePage? page) || (page.Granules & Mask(gpa, size)) == 0)
        {
            return;
        }

        foreach (Block block in page.Blocks)
        {
            if (Covers(block, gpa, size) && hit?.Contains(block) != true)
            {
                (hit ??= []).Add(block);
            }
        }
    }

    private void Forget(Block block, ulong number)
    {
        if (!_pages.TryGetValue(number, out CodePage? page) || !page.Blocks.Remove(block))
        {
            return;
        }

        DropIfUnused(page);
        page.Granules = 0;
        foreach (Block other in page.Blocks)
        {
            int first = FirstPart(other);
            page.Granules |= other.Key.Gpa >> GuestMemory.PageShift == number
                ? Mask(other.Key.Gpa, first)
                : Mask(other.SecondPage, other.GuestLength - first);
        }
    }

    /// <summary>A page that was thrown away with everything may be closed later: it is not ours any more.</summary>
    private void DropIfUnused(CodePage page)
    {
        if (page.Blocks.Count == 0 && page.Translators == 0 && _pages.GetValueOrDefault(page.Number) == page)
        {
            _pages.Remove(page.Number);
            SetFlag(page.Number, false);
        }
    }

    private void SetFlag(ulong number, bool code)
    {
        ulong gpa = number << GuestMemory.PageShift;
        if (memory.Find(gpa) is not { } slot)
        {
            return;
        }

        PageFlags* flags = slot.Flags + ((gpa - slot.Start) >> GuestMemory.PageShift);
        if (code)
        {
            SlotFlags.Set(flags, PageFlags.Code);
        }
        else
        {
            SlotFlags.Clear(flags, PageFlags.Code);
        }
    }
}
