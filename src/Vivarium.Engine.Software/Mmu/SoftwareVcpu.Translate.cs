using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// From linear addresses to host memory: the way every access takes that the first-level TLB does not answer.
internal sealed unsafe partial class SoftwareVcpu
{
    private readonly SecondLevelTlb _tlb;

    /// <summary>Who is to be told about writes to translated code.</summary>
    internal ICodeWatch CodeWatch { get; set; }

    /// <summary>The rights of explicit data accesses at the current privilege level.</summary>
    public AddressSpace DataSpace
        => Cpl == 3 ? AddressSpace.User
            : (S->SystemFlags & RflagsBits.Ac) != 0 ? AddressSpace.SupervisorAc
            : AddressSpace.Supervisor;

    /// <summary>The rights of instruction fetches: EFLAGS.AC does not matter to them.</summary>
    private AddressSpace FetchSpace => Cpl == 3 ? AddressSpace.User : AddressSpace.Supervisor;

    /// <summary>The PCID that is current: CR3 bits 11:0 if CR4.PCIDE is set, else 0 (SDM vol. 3A, 4.10.1).</summary>
    private int CurrentPcid => (S->Cr4 & Cr4Bits.Pcide) != 0 ? (int)(S->Cr3 & 0xFFF) : 0;

    private PagingContext Paging => new(S->Cr0, S->Cr3, S->Cr4, S->Efer, _code.AddressMask);

    /// <summary>Bits 63:47 are all equal (with 4-level paging).</summary>
    public static bool IsCanonical(ulong address) => (ulong)((long)(address << 16) >> 16) == address;

    /// <summary>
    /// A first-level TLB miss of translated code. Ok: the TLB of the current address space is filled (for writes only if
    /// later writes need no monitor either) and the host address of the byte comes back; else null. What was translated
    /// from bytes that are to be written is dropped.
    /// </summary>
    /// <param name="running">Host address in the block that goes on after the access; null if none does.</param>
    internal byte* TryResolve(ulong linear, int size, Access access, out ResolveResult result, byte* running = null)
    {
        result = default;
        Statistics.TlbMisses++;
        if (LongModeActive)
        {
            if (!IsCanonical(linear))
            {
                result.Kind = ResolveKind.NotCanonical;
                return null;
            }
        }
        else
        {
            linear = (uint)linear;
        }

        ulong offset = linear & GuestMemory.PageMask;
        if (offset + (uint)size > GuestMemory.PageSize)
        {
            byte* first = TryResolveAcross(linear, size, access, running);
            result.Kind = first != null ? ResolveKind.Ok : ResolveKind.Slow;
            return first;
        }

        if (_watchpoints.Length != 0 && IsWatchedPage(linear))
        {
            // Never in the TLB, so that translated code cannot get by.
            result.Kind = ResolveKind.Slow;
            return null;
        }

        AddressSpace space = DataSpace;
        if (!TryTranslate(linear, access, space, out CachedPage page, out uint errorCode))
        {
            result.Kind = ResolveKind.PageFault;
            result.ErrorCode = errorCode;
            return null;
        }

        if (page.Host == null || (access == Access.Write && page.IsRom))
        {
            result.Kind = ResolveKind.Slow;
            return null;
        }

        bool writable = !page.IsRom && !page.IsCode && (page.Rights & PageRights.Dirty) != 0;
        if (access == Access.Write)
        {
            SlotFlags.Clear(page.Flags, PageFlags.Clean);
            if (page.IsCode)
            {
                return TryWriteBesideCode(linear, size, space, page, running, out result);
            }
        }
        else
        {
            // A read may open the page for writes as well, if no write would have anything left to note.
            writable = writable && (*page.Flags & PageFlags.Clean) == 0
                && AccessRights.Permit(page.Rights, Paging, Access.Write, space);
        }

        if ((page.Rights & PageRights.Global) == 0)
        {
            LocalPagesOf(space)->Add(linear);
        }

        FirstLevelTlb.Fill(TlbOf(space), linear, page.Host, writable);
        if (writable && !_rendezvous.Alone)
        {
            // Another vCPU flags a page and then takes the write tags away; here the tag comes first and then the look at
            // the flag. One of the two sees what the other did.
            Interlocked.MemoryBarrier();
            if (page.IsCode)
            {
                FirstLevelTlb.FlushWrite(TlbOf(space), linear);
                if (access == Access.Write)
                {
                    return TryWriteBesideCode(linear, size, space, page, running, out result);
                }
            }
        }

        result.Kind = ResolveKind.Ok;
        return page.Host + offset;
    }

    /// <summary>
    /// An access that crosses into the next page, where the two follow each other in the host as well: kernels copy and unpack in
    /// memory that they have in one piece. Both pages enter the TLB, which makes who wants to translate from them wait. Null
    /// where that is not so: nothing has happened then that the access would not do too.
    /// </summary>
    private byte* TryResolveAcross(ulong linear, int size, Access access, byte* running)
    {
        int part = (int)(GuestMemory.PageSize - (linear & GuestMemory.PageMask));
        ulong next = linear + (uint)part;
        if (_watchpoints.Length != 0 || size - part > (int)GuestMemory.PageSize || (LongModeActive ? !IsCanonical(next) : next > uint.MaxValue))
        {
            return null;
        }

        NativeTlb* tlb = TlbOf(DataSpace);
        byte* first = FirstLevelTlb.Find(tlb, linear, access);
        if (first == null)
        {
            first = TryResolve(linear, part, access, out _, running);
        }

        byte* second = FirstLevelTlb.Find(tlb, next, access);
        return first != null && (second != null ? second : TryResolve(next, size - part, access, out _, running)) == first + part ? first : null;
    }

    /// <summary>
    /// Bytes of a descriptor table or a TSS, where they can be read as they are; the supervisor's TLB knows the page then.
    /// Null where they cross pages or are not memory, or the page is not mapped.
    /// </summary>
    internal byte* FindSystem(ulong linear, int size)
    {
        if ((linear & GuestMemory.PageMask) + (uint)size > GuestMemory.PageSize || !IsCanonical(linear))
        {
            return null;
        }

        byte* known = FirstLevelTlb.Find(&S->SupervisorTlb, linear, Access.Read);
        if (known != null || _watchpoints.Length != 0
            || !TryTranslate(linear, Access.Read, AddressSpace.Supervisor, out CachedPage page, out _) || page.Host == null)
        {
            return known;
        }

        if ((page.Rights & PageRights.Global) == 0)
        {
            LocalPagesOf(AddressSpace.Supervisor)->Add(linear);
        }

        FirstLevelTlb.Fill(&S->SupervisorTlb, linear, page.Host, writable: false);
        return page.Host + (linear & GuestMemory.PageMask);
    }

    /// <summary>Bytes within a page that translated code may write without asking; else null.</summary>
    internal byte* FindWritable(ulong linear, int size, AddressSpace space)
        => (linear & GuestMemory.PageMask) + (uint)size <= GuestMemory.PageSize
            ? FirstLevelTlb.Find(TlbOf(space), linear, Access.Write)
            : null;

    /// <summary>
    /// A write to a page with code. The TLB gets a tag for writes beside the code, which also makes whoever translates from the page
    /// now wait for this vCPU; what was translated from the very bytes is dropped.
    /// </summary>
    private byte* TryWriteBesideCode(ulong linear, int size, AddressSpace space, in CachedPage page, byte* running, out ResolveResult result)
    {
        result = default;
        if ((page.Rights & PageRights.Global) == 0)
        {
            LocalPagesOf(space)->Add(linear);
        }

        FirstLevelTlb.FillBesideCode(TlbOf(space), linear, page.Host);

        // First the tag, then the flag that it is there, then the look at the granules; who translates does it the other way round.
        Interlocked.MemoryBarrier();
        SlotFlags.Set(page.Flags, PageFlags.WrittenBesideCode);
        ulong offset = linear & GuestMemory.PageMask;
        int dropped = CodeWatch.GiveWay(page.Gpa + offset, size, running);
        if (dropped < 0)
        {
            result.Kind = ResolveKind.Slow;
            return null;
        }

        CountInvalidated(dropped);
        result.Kind = ResolveKind.Ok;
        return page.Host + offset;
    }

    private void CountInvalidated(int dropped)
    {
        Statistics.BlocksInvalidated += dropped;
        if (dropped != 0)
        {
            Statistics.Count(ExitCause.SelfModifyingCode);
        }
    }

    /// <summary>
    /// Fetches instruction bytes at the current privilege level: as many as <paramref name="buffer"/> takes, also over the
    /// page's end. False: not even the first byte could be had. If <paramref name="got"/> is less than asked for,
    /// <paramref name="fault"/> says what the next byte would raise.
    /// </summary>
    /// <param name="gpa">Guest-physical address of the first byte.</param>
    internal bool TryFetch(ulong linear, Span<byte> buffer, out int got, out ulong gpa, out PageFaultInfo fault)
    {
        got = 0;
        gpa = 0;
        fault = default;
        AddressSpace space = FetchSpace;
        while (got < buffer.Length)
        {
            ulong address = linear + (uint)got;
            if (!LongModeActive)
            {
                address = (uint)address;
            }
            else if (!IsCanonical(address))
            {
                fault = new PageFaultInfo { Address = address, NotCanonical = true };
                break;
            }

            if (!TryTranslate(address, Access.Execute, space, out CachedPage page, out uint errorCode))
            {
                fault = new PageFaultInfo { Address = address, ErrorCode = errorCode };
                break;
            }

            ulong offset = address & GuestMemory.PageMask;
            if (got == 0)
            {
                gpa = page.Gpa + offset;
            }

            int part = (int)Math.Min((ulong)(buffer.Length - got), GuestMemory.PageSize - offset);
            ReadPart(page, offset, buffer.Slice(got, part));
            got += part;
        }

        return got > 0;
    }

    /// <summary>Translates an address, from the second-level TLB or by a page walk. False: a page fault.</summary>
    private bool TryTranslate(ulong linear, Access access, AddressSpace space, out CachedPage page, out uint errorCode)
    {
        PagingContext paging = Paging;
        int pcid = CurrentPcid;
        ref readonly CachedPage cached = ref _tlb.Find(linear, pcid);
        if (!Unsafe.IsNullRef(in cached)
            && AccessRights.Permit(cached.Rights, paging, access, space)
            && (access != Access.Write || (cached.Rights & PageRights.Dirty) != 0))
        {
            page = cached;
            errorCode = 0;
            NoteExecution(linear, access, space, page.Rights);
            return true;
        }

        Statistics.PageWalks++;

        // Whatever a cached entry forbids is decided by the tables themselves: the guest may have widened the rights.
        if (!PageWalker.TryWalk(Memory, paging, linear, access, space, out PageTranslation translation, out errorCode))
        {
            page = default;

            // A page fault drops the address's cached translation (SDM vol. 3A, 4.10.4.1).
            DropPage(linear);
            return false;
        }

        page = Locate(translation);
        bool watched = _watchpoints.Length != 0 && IsWatchedPage(linear);
        _tlb.Insert(linear, pcid, page, translation.PageSize, watched ? (byte)0 : DirectAccesses(page, paging));
        NoteExecution(linear, access, space, page.Rights);
        return true;
    }

    /// <summary>The accesses to RAM that the paging structures allow and need not note any more. It holds until CR0, CR4 or EFER change, which empties the TLBs.</summary>
    private static byte DirectAccesses(in CachedPage page, in PagingContext paging)
    {
        if (page.Host == null)
        {
            return 0;
        }

        int direct = 0;
        bool writable = !page.IsRom && (page.Rights & PageRights.Dirty) != 0;
        for (AddressSpace space = AddressSpace.User; space <= AddressSpace.SupervisorAc; space++)
        {
            if (AccessRights.Permit(page.Rights, paging, Access.Read, space))
            {
                direct |= NativePage.DirectBit(space, write: false);
            }

            if (writable && AccessRights.Permit(page.Rights, paging, Access.Write, space))
            {
                direct |= NativePage.DirectBit(space, write: true);
            }
        }

        return (byte)direct;
    }

    /// <summary>Code of this page may enter a jump cache: remember what must empty it.</summary>
    private void NoteExecution(ulong linear, Access access, AddressSpace space, PageRights rights)
    {
        if (access == Access.Execute)
        {
            FirstLevelTlb.NoteSeen(PagesOf(space), linear);
            _ranLocal |= space != AddressSpace.User && (rights & PageRights.Global) == 0;
        }
    }

    private CachedPage Locate(in PageTranslation translation)
    {
        ulong gpa = translation.Gpa & ~GuestMemory.PageMask;
        var page = new CachedPage { Gpa = gpa, Rights = translation.Rights };
        if (Memory.Find(gpa) is { } slot)
        {
            ulong offset = gpa - slot.Start;
            page.Host = slot.Host + offset;
            page.Flags = slot.Flags + (offset >> GuestMemory.PageShift);
            page.Rights |= slot.ReadOnly ? PageRights.Rom : PageRights.None;
        }

        return page;
    }

    private NativeTlb* TlbOf(AddressSpace space) => &S->UserTlb + (int)space;

    private NativeExecutedPages* PagesOf(AddressSpace space) => space == AddressSpace.User ? &S->UserPages : &S->SupervisorPages;

    private NativeJumpCache* JumpsOf(AddressSpace space) => &S->UserJumps + (int)space;
}
