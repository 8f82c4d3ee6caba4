using Vivarium.Memory;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>A translated 4 KiB page and where it stands in the host.</summary>
internal unsafe struct CachedPage
{
    /// <summary>Guest-physical address of the page's first byte.</summary>
    public ulong Gpa;

    /// <summary>Host address of the page's first byte; null for MMIO and where there is nothing.</summary>
    public byte* Host;

    /// <summary>The page's flags; valid where <see cref="Host"/> is.</summary>
    public PageFlags* Flags;

    public PageRights Rights;

    public readonly bool IsRom => (Rights & PageRights.Rom) != 0;

    public readonly bool IsCode => (*Flags & PageFlags.Code) != 0;
}
