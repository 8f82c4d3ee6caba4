namespace Vivarium.Engine.Software;

/// <summary>What the engine does only for speed. Guests behave the same with any of them off: for bisecting, and to measure each.</summary>
[Flags]
public enum Optimizations : ulong
{
    None = 0,

    /// <summary>Repeated string instructions within known pages run as the host's own.</summary>
    StringThunks = 1ul << 0,

    /// <summary>Direct jumps within a page go straight to the next translation.</summary>
    Linking = 1ul << 1,

    /// <summary>Privileged instructions in their usual case are done without leaving translated code.</summary>
    InlinePrivileged = 1ul << 2,

    /// <summary>The same guest code at another address is copied from its first translation.</summary>
    Relocation = 1ul << 3,

    /// <summary>Translations are kept on disk for the next machine, where a folder for them is given.</summary>
    Persisted = 1ul << 4,

    /// <summary>Writes beside code in its page are done without leaving translated code.</summary>
    BesideCode = 1ul << 50,

    All = ulong.MaxValue,
}
