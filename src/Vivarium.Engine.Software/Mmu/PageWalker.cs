using Vivarium.Memory;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>
/// Translates linear to guest-physical addresses through the guest's paging structures (SDM vol. 3A, chapter 4):
/// no paging, 32-bit paging with 4 MiB pages (PSE-36), PAE and 4-level paging. Sets accessed and dirty flags.
/// </summary>
/// <remarks>
/// A table outside RAM and ROM reads as zeros: not present. PAE's four PDPTEs are read at each walk; a processor would
/// have loaded them with CR3 (SDM vol. 3A, 4.4.1), which software cannot rely on to keep stale ones.
/// Accessed and dirty flags are set only when the access is allowed.
/// </remarks>
internal static unsafe class PageWalker
{
    /// <summary>MAXPHYADDR, as CPUID leaf 80000008H reports it.</summary>
    public const int PhysicalAddressBits = CpuModel.PhysicalAddressBits;

    public const ulong Size4K = 1ul << 12;
    public const ulong Size2M = 1ul << 21;
    public const ulong Size4M = 1ul << 22;
    public const ulong Size1G = 1ul << 30;

    // Paging-structure entries (SDM vol. 3A, tables 4-4 to 4-20).
    private const ulong P = 1 << 0;
    private const ulong Rw = 1 << 1;
    private const ulong Us = 1 << 2;
    private const ulong A = 1 << 5;
    private const ulong D = 1 << 6;
    private const ulong Ps = 1 << 7;
    private const ulong G = 1 << 8;
    private const ulong Xd = 1ul << 63;

    private const ulong PhysicalMask = (1ul << PhysicalAddressBits) - 1;
    /// <summary>An entry's address bits.</summary>
    public const ulong TableMask = PhysicalMask & ~0xFFFul;

    /// <summary>Address bits that this processor lacks: reserved in every 64-bit entry.</summary>
    private const ulong AboveMaxPhyAddr = 0x000F_FFFF_FFFF_FFFFul & ~PhysicalMask;

    /// <summary>PAE, unlike 4-level paging, has no ignored bits above the address.</summary>
    private const ulong PaeHighReserved = 0x7FF0_0000_0000_0000;

    private enum Outcome
    {
        Done,
        Fault,
        Retry,
    }

    /// <summary>Translates one address. False: a page fault with the error code.</summary>
    public static bool TryWalk(GuestMemory memory, in PagingContext paging, ulong linear, Access access, AddressSpace space,
        out PageTranslation page, out uint errorCode)
    {
        if (!paging.Paging)
        {
            errorCode = 0;
            page = new PageTranslation(paging.Mask((uint)linear), Size4K, PageRights.Writable | PageRights.User | PageRights.Dirty);
            return true;
        }

        Outcome outcome;
        do
        {
            outcome = paging.Pae
                ? Walk64(memory, paging, linear, access, space, out page, out errorCode)
                : Walk32(memory, paging, (uint)linear, access, space, out page, out errorCode);
        }
        while (outcome == Outcome.Retry);

        return outcome == Outcome.Done;
    }

    /// <summary>32-bit paging (SDM vol. 3A, 4.3).</summary>
    private static Outcome Walk32(GuestMemory memory, in PagingContext paging, uint linear, Access access, AddressSpace space,
        out PageTranslation page, out uint errorCode)
    {
        page = default;
        errorCode = PageFaultCode.For(paging, access, space);

        TableEntry pde = TableEntry.Read32(memory, paging.Mask((paging.Cr3 & 0xFFFF_F000) + ((linear >> 22) * 4)));
        if ((pde.Value & P) == 0)
        {
            return Outcome.Fault;
        }

        ulong rights = pde.Value & (Rw | Us);
        TableEntry leaf;
        ulong size;
        ulong frame;
        if ((pde.Value & Ps) != 0 && paging.PageSizeExtensions)
        {
            // PSE-36: bits 20:13 are address bits 39:32, bit 21 is reserved.
            if ((pde.Value & (1 << 21)) != 0)
            {
                errorCode |= PageFaultCode.Present | PageFaultCode.Reserved;
                return Outcome.Fault;
            }

            leaf = pde;
            size = Size4M;
            frame = (pde.Value & 0xFFC0_0000) | ((pde.Value & 0x001F_E000) << 19);
        }
        else
        {
            leaf = TableEntry.Read32(memory, paging.Mask((pde.Value & 0xFFFF_F000) + (((linear >> 12) & 0x3FF) * 4)));
            if ((leaf.Value & P) == 0)
            {
                return Outcome.Fault;
            }

            rights &= leaf.Value;
            size = Size4K;
            frame = leaf.Value & 0xFFFF_F000;
        }

        PageRights allowed = Rights(rights, leaf.Value, paging);
        if (!AccessRights.Permit(allowed, paging, access, space))
        {
            errorCode |= PageFaultCode.Present;
            return Outcome.Fault;
        }

        if (access == Access.Inspect)
        {
            page = new PageTranslation(paging.Mask(frame | (linear & (size - 1))), size, allowed);
            return Outcome.Done;
        }

        if ((size == Size4K && !pde.TrySet(A)) || !leaf.TrySet(access == Access.Write ? A | D : A))
        {
            return Outcome.Retry;
        }

        page = new PageTranslation(paging.Mask(frame | (linear & (size - 1))), size, access == Access.Write ? allowed | PageRights.Dirty : allowed);
        return Outcome.Done;
    }

    /// <summary>PAE paging (SDM vol. 3A, 4.4) and 4-level paging (4.5): they differ in the top levels and in what is reserved.</summary>
    private static Outcome Walk64(GuestMemory memory, in PagingContext paging, ulong linear, Access access, AddressSpace space,
        out PageTranslation page, out uint errorCode)
    {
        page = default;
        errorCode = PageFaultCode.For(paging, access, space);

        ulong reserved = ReservedBits(paging);
        ulong table;
        int level;
        if (paging.FourLevel)
        {
            table = paging.Cr3 & TableMask;
            level = 4;
        }
        else
        {
            // A PDPTE has no rights and no accessed flag.
            ulong pdpte = TableEntry.Read64(memory, paging.Mask((paging.Cr3 & 0xFFFF_FFE0) + (((linear >> 30) & 3) * 8))).Value;
            if ((pdpte & P) == 0)
            {
                return Outcome.Fault;
            }

            if ((pdpte & (AboveMaxPhyAddr | PaeHighReserved | Xd | 0x1E6)) != 0)
            {
                errorCode |= PageFaultCode.Present | PageFaultCode.Reserved;
                return Outcome.Fault;
            }

            reserved |= PaeHighReserved;
            table = pdpte & TableMask;
            level = 2;
        }

        Span<TableEntry> used = stackalloc TableEntry[4];
        int count = 0;
        ulong rights = Rw | Us;
        ulong executeDisable = 0;
        ulong size;
        while (true)
        {
            int shift = 12 + ((level - 1) * 9);
            TableEntry entry = TableEntry.Read64(memory, paging.Mask(table + (((linear >> shift) & 0x1FF) * 8)));
            if ((entry.Value & P) == 0)
            {
                return Outcome.Fault;
            }

            size = 1ul << shift;
            bool leaf = level == 1 || (level <= 3 && (entry.Value & Ps) != 0);
            if ((entry.Value & (reserved | LevelReserved(level, leaf, size))) != 0)
            {
                errorCode |= PageFaultCode.Present | PageFaultCode.Reserved;
                return Outcome.Fault;
            }

            used[count++] = entry;
            rights &= entry.Value;
            executeDisable |= entry.Value & Xd;
            if (leaf)
            {
                break;
            }

            table = entry.Value & TableMask;
            level--;
        }

        PageRights allowed = Rights(rights | executeDisable, used[count - 1].Value, paging);
        if (!AccessRights.Permit(allowed, paging, access, space))
        {
            errorCode |= PageFaultCode.Present;
            return Outcome.Fault;
        }

        for (int i = 0; i < count && access != Access.Inspect; i++)
        {
            bool dirty = i == count - 1 && access == Access.Write;
            if (!used[i].TrySet(dirty ? A | D : A))
            {
                return Outcome.Retry;
            }
        }

        ulong frame = used[count - 1].Value & TableMask & ~(size - 1);
        page = new PageTranslation(paging.Mask(frame | (linear & (size - 1))), size, access == Access.Write ? allowed | PageRights.Dirty : allowed);
        return Outcome.Done;
    }

    /// <summary>What is reserved in every 64-bit entry of 4-level paging.</summary>
    public static ulong ReservedBits(in PagingContext paging) => AboveMaxPhyAddr | (paging.NoExecuteEnabled ? 0 : Xd);

    /// <summary>What is reserved because of the entry's place: PS in a PML4E; the bits between PAT and the frame of a large page.</summary>
    private static ulong LevelReserved(int level, bool leaf, ulong size)
    {
        if (level == 4)
        {
            return Ps;
        }

        return leaf && level > 1 ? (size - 1) & ~0x1FFFul : 0;
    }

    private static PageRights Rights(ulong combined, ulong leaf, in PagingContext paging)
    {
        PageRights rights = PageRights.None;
        rights |= (combined & Rw) != 0 ? PageRights.Writable : 0;
        rights |= (combined & Us) != 0 ? PageRights.User : 0;
        rights |= (combined & Xd) != 0 ? PageRights.NoExecute : 0;
        rights |= (leaf & D) != 0 ? PageRights.Dirty : 0;
        rights |= (leaf & G) != 0 && paging.GlobalPages ? PageRights.Global : 0;
        return rights;
    }
}
