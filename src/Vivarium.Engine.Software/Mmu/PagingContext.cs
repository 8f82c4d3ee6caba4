namespace Vivarium.Engine.Software.Mmu;

/// <summary>The control registers that decide how linear addresses are translated (SDM vol. 3A, 4.1.1), and the address lines that are masked.</summary>
internal readonly struct PagingContext(ulong cr0, ulong cr3, ulong cr4, ulong efer, ulong addressMask = AddressMask.All)
{
    /// <summary>Where on the bus a physical address is.</summary>
    public ulong Mask(ulong address) => address & addressMask;

    public bool Masks => addressMask != AddressMask.All;

    public ulong Cr3 { get; } = cr3;

    public bool Paging => (cr0 & Cr0Bits.Pg) != 0;

    /// <summary>64-bit paging-structure entries: PAE or 4-level paging.</summary>
    public bool Pae => (cr4 & Cr4Bits.Pae) != 0;

    public bool FourLevel => (efer & EferBits.Lma) != 0;

    public bool WriteProtect => (cr0 & Cr0Bits.Wp) != 0;

    public bool PageSizeExtensions => (cr4 & Cr4Bits.Pse) != 0;

    public bool GlobalPages => (cr4 & Cr4Bits.Pge) != 0;

    public bool Smep => (cr4 & Cr4Bits.Smep) != 0;

    public bool Smap => (cr4 & Cr4Bits.Smap) != 0;

    /// <summary>EFER.NXE, which counts only with 64-bit entries.</summary>
    public bool NoExecuteEnabled => (efer & EferBits.Nxe) != 0 && Pae;

    /// <summary>The same rights allow the same accesses.</summary>
    public bool HasRightsOf(in PagingContext other)
        => WriteProtect == other.WriteProtect && Smap == other.Smap && Smep == other.Smep;
}
