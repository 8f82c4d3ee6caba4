namespace Vivarium.Engine.Software.Mmu;

internal enum ResolveKind
{
    /// <summary>The host address may be used for this access.</summary>
    Ok,

    /// <summary>#PF with <see cref="ResolveResult.ErrorCode"/>; CR2 is not yet set.</summary>
    PageFault,

    /// <summary>#GP or #SS: the address is not canonical.</summary>
    NotCanonical,

    /// <summary>Not plain memory: the access crosses a page, or goes to MMIO, nothing, ROM, or translated code.</summary>
    Slow,
}

/// <summary>What a TLB miss of translated code came to.</summary>
internal struct ResolveResult
{
    public ResolveKind Kind;
    public uint ErrorCode;
}

/// <summary>Why an instruction could not be fetched, and at which address.</summary>
internal struct PageFaultInfo
{
    public ulong Address;
    public uint ErrorCode;

    /// <summary>Not a page fault but #GP: the address is not canonical.</summary>
    public bool NotCanonical;
}
