using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// What translated code has to know to walk the paging structures itself (PageWalkThunk).
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>What <see cref="NativePages.DirectAccesses"/> were worked out for.</summary>
    private PagingContext _preparedFor;

    /// <summary>The map of memory that emitted walks know: a new list each time it changes.</summary>
    private IReadOnlyList<MemorySlot>? _walkedSlots;

    /// <summary>After anything may have changed that decides about walks; the TLBs are empty.</summary>
    private void PrepareWalks()
    {
        PagingContext paging = Paging;
        NativePages* pages = _tlb.Native;
        bool first = pages->FrameMask == 0;
        if (_walkedSlots != Memory.Slots)
        {
            PrepareMemory(pages);
        }

        pages->Reserved = PageWalker.ReservedBits(paging);
        pages->FrameMask = PageWalker.TableMask;
        pages->GlobalPages = paging.GlobalPages ? (uint)PageRights.Global : 0;
        if (first || !paging.HasRightsOf(_preparedFor))
        {
            _preparedFor = paging;
            for (int rights = 0; rights < NativePages.RightsCount; rights++)
            {
                // No more than a host address that is not null is asked for.
                pages->DirectAccesses[rights] = DirectAccesses(new CachedPage { Host = (byte*)pages, Rights = (PageRights)rights }, paging);
            }
        }

        PrepareWalkFromRoot();
    }

    /// <summary>After CR3 has changed.</summary>
    private void PrepareWalkFromRoot()
    {
        ulong root = S->Cr3 & PageWalker.TableMask;
        _tlb.Native->Root = Paging is { Paging: true, FourLevel: true, Masks: false } && _watchpoints.Length == 0 && Memory.Find(root) is { } slot
            ? (ulong)slot.Host + (root - slot.Start)
            : 0;
    }

    private void PrepareMemory(NativePages* pages)
    {
        const ulong highStart = 1ul << 32;
        _walkedSlots = Memory.Slots;
        pages->LowLength = pages->HighLength = 0;
        foreach (MemorySlot slot in _walkedSlots)
        {
            if (slot.ReadOnly)
            {
                continue;
            }

            if (slot.Start >= highStart && slot.Length > pages->HighLength)
            {
                pages->HighStart = slot.Start;
                pages->HighLength = slot.Length;
                pages->HighHost = (ulong)slot.Host;
            }
            else if (slot.Start < highStart && slot.Length > pages->LowLength)
            {
                pages->LowStart = slot.Start;
                pages->LowLength = slot.Length;
                pages->LowHost = (ulong)slot.Host;
            }

            // One array for all slots, as they are one range of the host's memory.
            pages->FlagsBias = (ulong)slot.Flags - ((ulong)slot.Host >> GuestMemory.PageShift);
        }
    }
}
