namespace Vivarium.Memory;

/// <summary>What the monitor must know about a guest page before it is written.</summary>
[Flags]
public enum PageFlags : byte
{
    None = 0,

    /// <summary>The page holds guest code that an engine has translated: writes must be reported.</summary>
    Code = 1,

    /// <summary>
    /// The page was not written since the dirty log was last read: its first write must be noted. RAM counts as written at first, so that nobody
    /// has to set anything for pages that are not used.
    /// </summary>
    Clean = 2,

    /// <summary>
    /// The page holds code, and some vCPU may write beside it without telling: who translates from the page must stop that.
    /// The engine's own.
    /// </summary>
    WrittenBesideCode = 4,
}
