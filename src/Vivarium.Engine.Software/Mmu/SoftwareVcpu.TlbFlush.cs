using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// Invalidation of TLBs (SDM vol. 3A, 4.10.4). Dropping more than asked for is always allowed, dropping less never.
internal sealed unsafe partial class SoftwareVcpu
{
    private readonly bool _findsByPage;
    private readonly bool _listsFilled;

    /// <summary>Supervisor code may have been looked up in pages that are not global.</summary>
    private bool _ranLocal;

    /// <summary>A bit for each jump cache that may know code by an offset in a segment that begins elsewhere than at 0, so not by its linear address.</summary>
    private int _basedJumps;

    /// <summary>INVPCID types (SDM vol. 2, INVPCID).</summary>
    public enum InvpcidType : byte
    {
        IndividualAddress = 0,
        SingleContext = 1,
        AllContexts = 2,
        AllContextsKeepGlobal = 3,
    }

    /// <summary>Forgets all translations (of every PCID; non-global only if <paramref name="keepGlobal"/>), and with them the jump caches.</summary>
    public void FlushTlb(bool keepGlobal)
    {
        if (keepGlobal)
        {
            _tlb.FlushNonGlobal();
        }
        else
        {
            _tlb.FlushAll();
        }

        _tlb.Current = CurrentPcid;
        PrepareWalks();
        FlushFirstLevel(keepGlobal);
    }

    /// <summary>
    /// After CR3 was written: what is cached for the PCID now current goes, unless the written value's bit 63 said to keep
    /// it (CR4.PCIDE); global pages stay.
    /// </summary>
    public void FlushAfterCr3Write(bool keepPcid)
    {
        if (!keepPcid)
        {
            _tlb.FlushPcid(CurrentPcid);
        }

        _tlb.Current = CurrentPcid;
        PrepareWalkFromRoot();
        FlushFirstLevel(keepGlobal: true);
    }

    /// <summary>Forgets the translation of one page, whatever its size (INVLPG).</summary>
    public void FlushPage(ulong linear)
    {
        Statistics.TlbPageFlushes++;
        bool large = _tlb.MayHoldLargePage(linear) || _tlb.MayHoldGiantPage(linear);
        DropPage(linear);
        if (large)
        {
            if (FirstLevelTlb.AnySeen(&S->UserPages, linear))
            {
                FlushUserCode();
            }

            if (FirstLevelTlb.AnySeen(&S->SupervisorPages, linear))
            {
                FlushSupervisorCode();
            }

            return;
        }

        if (FirstLevelTlb.MayBeSeen(&S->UserPages, linear))
        {
            DropJumpsInto(AddressSpace.User, linear);
            DropSitesInto(linear);
            FirstLevelTlb.FlushPage(&S->UserPages, linear);
        }

        if (FirstLevelTlb.MayBeSeen(&S->SupervisorPages, linear))
        {
            DropJumpsInto(AddressSpace.Supervisor, linear);
            DropJumpsInto(AddressSpace.SupervisorAc, linear);
            FirstLevelTlb.FlushPage(&S->SupervisorPages, linear);
        }
    }

    /// <summary>INVPCID; the descriptor's validity was checked.</summary>
    public void FlushPcid(InvpcidType type, int pcid, ulong linear)
    {
        switch (type)
        {
            case InvpcidType.IndividualAddress when pcid == CurrentPcid:
                FlushPage(linear);
                break;
            case InvpcidType.IndividualAddress:
            case InvpcidType.SingleContext:
                _tlb.FlushPcid(pcid);
                if (pcid == CurrentPcid)
                {
                    FlushFirstLevel(keepGlobal: true);
                }

                break;
            default:
                FlushTlb(keepGlobal: type == InvpcidType.AllContextsKeepGlobal);
                break;
        }
    }

    /// <summary>
    /// The next write of translated code to the page of <paramref name="gpa"/> comes to the monitor (the page now holds
    /// translated code). Returns true if one might have gone without. Callable from any thread.
    /// </summary>
    internal bool ForgetWrites(ulong gpa)
    {
        if (Memory.Find(gpa) is not { } slot)
        {
            return false;
        }

        byte* host = slot.Host + ((gpa - slot.Start) & ~0xFFFul);
        bool any = FirstLevelTlb.FlushWrites(&S->UserTlb, host)
            | FirstLevelTlb.FlushWrites(&S->SupervisorTlb, host)
            | FirstLevelTlb.FlushWrites(&S->SupervisorAcTlb, host);

        // Who copies a tag from there looks at it again afterwards.
        Interlocked.MemoryBarrier();
        return any | S->UserStack.ForgetWrites(host) | S->SupervisorStack.ForgetWrites(host);
    }

    /// <summary>Jumps of translated code find the blocks no more, which were marked as not valid before. Callable from any thread.</summary>
    internal void DropJumps(ReadOnlySpan<Block> blocks)
    {
        bool loops = false;
        foreach (Block block in blocks)
        {
            loops |= block.Loops;
            if (block.Floats)
            {
                FirstLevelTlb.Drop(JumpsOf(AddressSpace.User), AddressSpace.User, block.Code);
            }
            else
            {
                for (AddressSpace space = AddressSpace.User; space <= AddressSpace.SupervisorAc; space++)
                {
                    FirstLevelTlb.Drop(JumpsOf(space), space, block.Key.Rip, block.Code);
                }
            }
        }

        // Who fills an entry of a site looks into the jump cache again afterwards.
        Interlocked.MemoryBarrier();
        foreach (Block block in blocks)
        {
            if (block.Key.Mode.Space() == AddressSpace.User)
            {
                S->UserSites.Drop(block.Body);
            }
        }

        // Last: who left a loop before could go back to it.
        if (loops)
        {
            LeaveLoops();
        }
    }

    /// <summary>The next write to any page comes to the monitor (the dirty log begins anew).</summary>
    internal void ForgetWrites()
    {
        FirstLevelTlb.FlushWrites(&S->UserTlb);
        FirstLevelTlb.FlushWrites(&S->SupervisorTlb);
        FirstLevelTlb.FlushWrites(&S->SupervisorAcTlb);
        Interlocked.MemoryBarrier();
        S->UserStack.ForgetWrites();
        S->SupervisorStack.ForgetWrites();
        LeaveLoops();
    }

    internal void FlushJumpCaches()
    {
        FlushUserCode();
        FlushSupervisorCode();
    }

    /// <summary>All translations have been thrown away. The vCPU is parked.</summary>
    internal void ForgetBlocks()
    {
        FlushJumpCaches();
        new Span<uint>(S->FoundBlocks.Entry, NativeFoundBlocks.Count).Clear();
        Array.Clear(_recentBlocks);
    }

    /// <summary>Lets jumps of translated code find a block, unless it is thrown away meanwhile.</summary>
    private void EnterJump(AddressSpace space, ulong rip, Block block)
    {
        EnterJump(space, rip, block.Code);
        if (_findsByPage && Code64 && block.SecondPage == Block.NoPage)
        {
            PagesOf(space)->Entry[NativeExecutedPages.IndexOf(rip)] = NativeExecutedPages.EntryFor(rip, block.Key.Gpa);
            S->FoundBlocks.Entry[NativeFoundBlocks.IndexOf(BlockHeader.Of(block.Key))] = (uint)(BlockHeader.Before(block.Code) - S->CodeStart);
        }

        // Who throws it away, which devices' threads do too, marks it first and then looks for it here.
        Interlocked.MemoryBarrier();
        if (!block.Valid)
        {
            DropJumps([block]);
        }
    }

    /// <summary>Lets jumps of translated code find a translation.</summary>
    internal void EnterJump(AddressSpace space, ulong rip, byte* code)
    {
        int index = NativeJumpCache.IndexOf(rip, space);
        ulong* entry = JumpsOf(space)->Entry + (index * 2);
        entry[0] = 0 - rip;
        entry[1] = (ulong)code;
        FilledJumpsOf(space)->Add((ulong)index << NativeJumpCache.EntryShift);
        if (!Code64 && S->Cs.Base != 0)
        {
            _basedJumps |= 1 << (int)space;
        }
    }

    /// <summary>What was filled since the list was emptied last is not all in it.</summary>
    private bool LacksSome(NativeFilled* list) => list->TooMany || (list->Count != 0 && !_listsFilled);

    private void FlushUserCode()
    {
        FlushJumps(AddressSpace.User);
        FlushSites();
        FirstLevelTlb.Flush(&S->UserPages);
    }

    private void FlushSupervisorCode()
    {
        FlushJumps(AddressSpace.Supervisor);
        FlushJumps(AddressSpace.SupervisorAc);
        FirstLevelTlb.Flush(&S->SupervisorPages);
        _ranLocal = false;
    }

    /// <summary>Empties one jump cache, unless nothing can have been entered since it was last emptied.</summary>
    private void FlushJumps(AddressSpace space)
    {
        NativeFilled* filled = FilledJumpsOf(space);
        if (LacksSome(filled))
        {
            FirstLevelTlb.Flush(JumpsOf(space), space);
        }
        else if (filled->Count != 0)
        {
            FirstLevelTlb.Flush(JumpsOf(space), space, filled);
        }

        filled->Count = 0;
        _basedJumps &= ~(1 << (int)space);
    }

    private void FlushSites()
    {
        NativeFilled* filled = &S->UserSitesFilled;
        if (LacksSome(filled))
        {
            S->UserSites.Flush();
        }
        else
        {
            S->UserSites.Flush(filled);
        }

        filled->Count = 0;
    }

    private void DropSitesInto(ulong linear)
    {
        NativeFilled* filled = &S->UserSitesFilled;
        if (filled->TooMany || !_listsFilled)
        {
            S->UserSites.DropPage(linear);
        }
        else
        {
            S->UserSites.DropPage(linear, filled);
        }
    }

    /// <summary>Takes from one jump cache what was looked up in a page. The rest is worth more than the search costs.</summary>
    private void DropJumpsInto(AddressSpace space, ulong linear)
    {
        NativeFilled* filled = FilledJumpsOf(space);
        if ((_basedJumps >> (int)space & 1) != 0)
        {
            FlushJumps(space);
        }
        else if (filled->TooMany || !_listsFilled)
        {
            FirstLevelTlb.DropPage(JumpsOf(space), space, linear);
        }
        else
        {
            FirstLevelTlb.DropPage(JumpsOf(space), space, linear, filled);
        }
    }

    private void FlushFirstLevel(bool keepGlobal)
    {
        Statistics.TlbFlushes++;
        for (AddressSpace space = AddressSpace.User; space <= AddressSpace.SupervisorAc; space++)
        {
            NativeFilled* local = LocalPagesOf(space);
            if (!keepGlobal || LacksSome(local))
            {
                FirstLevelTlb.Flush(TlbOf(space));
            }
            else
            {
                for (ulong i = 0; i < local->Count; i++)
                {
                    FirstLevelTlb.FlushPage(TlbOf(space), local->Items[i]);
                }
            }

            local->Count = 0;
        }

        ForgetStackPages();
        FlushUserCode();
        if (!keepGlobal || _ranLocal)
        {
            FlushSupervisorCode();
        }
    }

    private NativeFilled* LocalPagesOf(AddressSpace space) => &S->UserLocal + (int)space;

    private NativeFilled* FilledJumpsOf(AddressSpace space) => &S->UserJumpsFilled + (int)space;

    private void ForgetStackPages()
    {
        S->UserStack.Forget();
        S->SupervisorStack.Forget();
    }

    private void DropPage(ulong linear)
    {
        ForgetStackPages();
        if (_tlb.MayHoldGiantPage(linear))
        {
            _tlb.FlushAll();
            FirstLevelTlb.Flush(&S->UserTlb);
            FirstLevelTlb.Flush(&S->SupervisorTlb);
            FirstLevelTlb.Flush(&S->SupervisorAcTlb);
        }
        else if (_tlb.MayHoldLargePage(linear))
        {
            _tlb.FlushRegion(linear);
            FirstLevelTlb.FlushRegion(&S->UserTlb, linear);
            FirstLevelTlb.FlushRegion(&S->SupervisorTlb, linear);
            FirstLevelTlb.FlushRegion(&S->SupervisorAcTlb, linear);
        }
        else
        {
            _tlb.FlushPage(linear);
            FirstLevelTlb.FlushPage(&S->UserTlb, linear);
            FirstLevelTlb.FlushPage(&S->SupervisorTlb, linear);
            FirstLevelTlb.FlushPage(&S->SupervisorAcTlb, linear);
        }
    }
}
