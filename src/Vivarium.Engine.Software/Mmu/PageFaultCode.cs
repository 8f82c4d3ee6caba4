namespace Vivarium.Engine.Software.Mmu;

/// <summary>The page-fault error code (SDM vol. 3A, 4.7).</summary>
internal static class PageFaultCode
{
    /// <summary>The page was present: a protection violation.</summary>
    public const uint Present = 1 << 0;
    public const uint Write = 1 << 1;
    public const uint User = 1 << 2;

    /// <summary>A reserved bit was set in a paging-structure entry.</summary>
    public const uint Reserved = 1 << 3;
    public const uint InstructionFetch = 1 << 4;

    /// <summary>The bits that say what was attempted.</summary>
    public static uint For(in PagingContext paging, Access access, AddressSpace space)
    {
        uint code = space == AddressSpace.User ? User : 0;
        if (access == Access.Write)
        {
            code |= Write;
        }
        else if (access == Access.Execute && (paging.NoExecuteEnabled || paging.Smep))
        {
            code |= InstructionFetch;
        }

        return code;
    }
}
