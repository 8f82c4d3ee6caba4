namespace Vivarium.Engine.Software.Mmu;

/// <summary>What the paging structures say about a page (SDM vol. 3A, 4.6).</summary>
[Flags]
internal enum PageRights : byte
{
    None = 0,

    /// <summary>R/W is set at every level.</summary>
    Writable = 1,

    /// <summary>U/S is set at every level: a user-mode address.</summary>
    User = 2,

    /// <summary>XD is set at some level.</summary>
    NoExecute = 4,

    /// <summary>The dirty flag is set.</summary>
    Dirty = 8,

    /// <summary>G is set and CR4.PGE is on.</summary>
    Global = 16,

    /// <summary>Not of the paging structures: the page is ROM.</summary>
    Rom = 32,
}

/// <summary>The outcome of a successful page walk.</summary>
internal readonly struct PageTranslation(ulong gpa, ulong pageSize, PageRights rights)
{
    /// <summary>Guest-physical address of the byte that was asked for.</summary>
    public ulong Gpa { get; } = gpa;

    /// <summary>4 KiB, 2 MiB, 4 MiB or 1 GiB.</summary>
    public ulong PageSize { get; } = pageSize;

    public PageRights Rights { get; } = rights;

    public bool Global => (Rights & PageRights.Global) != 0;

    public bool Writable => (Rights & PageRights.Writable) != 0;

    public bool User => (Rights & PageRights.User) != 0;

    public bool NoExecute => (Rights & PageRights.NoExecute) != 0;

    public bool Dirty => (Rights & PageRights.Dirty) != 0;
}
