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

    /// <summary>Guest calls and returns run as the host's, which predicts returns.</summary>
    PairedReturns = 1ul << 8,

    /// <summary>Jumps find translations by the physical page of their target before they ask the run loop.</summary>
    JumpsByPage = 1ul << 9,

    /// <summary>A new translation's jumps go straight to those that are there already.</summary>
    EarlyLinking = 1ul << 10,

    All = ulong.MaxValue,
}
