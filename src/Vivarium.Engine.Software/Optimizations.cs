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

    /// <summary>Guest calls and returns run as the host's, which predicts returns.</summary>
    PairedReturns = 1ul << 5,

    /// <summary>Jumps find translations by the physical page of their target before they ask the run loop.</summary>
    JumpsByPage = 1ul << 6,

    /// <summary>A new translation's jumps go straight to those that are there already.</summary>
    EarlyLinking = 1ul << 7,

    /// <summary>STAC and CLAC change what the rest of a translation may access.</summary>
    AccessSwitches = 1ul << 8,

    /// <summary>SYSCALL, SYSRET and IRET change the privilege level without leaving translated code.</summary>
    PrivilegeSwitches = 1ul << 9,

    /// <summary>CR0, CR2, CR3 and CR4 are read, and the bases of FS and GS read and written, without leaving translated code.</summary>
    SystemRegisters = 1ul << 10,

    /// <summary>Faults and interrupts in 64-bit mode are delivered by what the TLB knows of the tables.</summary>
    QuickDelivery = 1ul << 11,

    /// <summary>Arithmetic flags stay put aside after a memory check until something needs them.</summary>
    LazyFlags = 1ul << 12,

    /// <summary>Translated code searches the second-level TLB itself.</summary>
    SecondLevelTlb = 1ul << 13,

    /// <summary>Reads across pages and of devices do not leave translated code.</summary>
    BouncedReads = 1ul << 14,

    /// <summary>Writes beside code in its page are done without leaving translated code.</summary>
    BesideCode = 1ul << 15,

    /// <summary>Code that is changed again and again is not watched: its translations compare it when they run.</summary>
    SelfChecks = 1ul << 16,

    /// <summary>Where a new translation's jumps go is copied along with it, as far as there are templates.</summary>
    CopyAhead = 1ul << 17,

    /// <summary>Jumps of floating code to other pages look first where they went last.</summary>
    JumpSites = 1ul << 18,

    /// <summary>Programs' indirect calls, and jumps through pointers at constant places, look first where they went last.</summary>
    InlineCaches = 1ul << 19,

    /// <summary>Translated code walks 4-level paging structures itself.</summary>
    PageWalks = 1ul << 20,

    /// <summary>IRET within ring 0 does not leave translated code.</summary>
    InnerReturns = 1ul << 21,

    /// <summary>Jumps of translated code look for the target's physical page in the second-level TLB and the paging structures themselves.</summary>
    FetchWalks = 1ul << 22,

    /// <summary>Emptying TLBs and jump caches touches what was filled only.</summary>
    FlushLists = 1ul << 23,

    /// <summary>XSAVE, XSAVEC and XRSTOR run as the host's own.</summary>
    ExtendedSaves = 1ul << 24,

    /// <summary>Loops that run long are translated again, as one block whose second round knows what the first one left.</summary>
    Loops = 1ul << 29,

    /// <summary>Such a loop checks at its head that all accesses of a round stay in the pages of the round before.</summary>
    LoopWindows = 1ul << 31,

    /// <summary>A check does not save flags that the guest's instruction can make again.</summary>
    FlagRecipes = 1ul << 32,

    /// <summary>Accesses in a row through one register are checked together.</summary>
    SharedChecks = 1ul << 30,

    /// <summary>A translation goes on behind conditional jumps that are not taken.</summary>
    LongBlocks = 1ul << 33,

    /// <summary>One translation of a page's code serves wherever programs have it mapped.</summary>
    FloatingCode = 1ul << 34,

    /// <summary>Accesses through the stack pointer look first at the page that it was in last.</summary>
    StackPages = 1ul << 36,

    /// <summary>A check of the stack covers what comes later in the block, with other accesses in between.</summary>
    KnownStack = 1ul << 37,

    /// <summary>Guest R12 to R15 stay in scratch registers between checks.</summary>
    HeldRegisters = 1ul << 38,

    /// <summary>What a shift works on is put aside where a check would otherwise save the shift's flags.</summary>
    ShiftRecipes = 1ul << 39,

    /// <summary>The common instructions of 64-bit code have a decoder of their own.</summary>
    QuickDecoder = 1ul << 40,

    /// <summary>Translations stand in huge pages of the host.</summary>
    HugePages = 1ul << 41,

    All = ulong.MaxValue,
}
