namespace Vivarium.Engine.Software.Translate;

internal enum ColdKind : byte
{
    /// <summary>Bring the extended state into registers, go on.</summary>
    LoadExtended,

    /// <summary>The same, with RCX in T1.</summary>
    LoadExtendedKeepingFlags,

    /// <summary>TLB miss: ask the helper for the host address, go on.</summary>
    Resolve,

    /// <summary>The same, for an operand at T1 + T2.</summary>
    ResolveAddress,

    /// <summary>An access through the stack pointer that is not to its page of last time: go on with what the TLB says, or the helper.</summary>
    ResolveOnStack,

    /// <summary>The same, for a run: if it does not lie in one page of plain memory, to a block without runs.</summary>
    ResolveRun,

    /// <summary>The same for a run.</summary>
    ResolveRunOnStack,

    /// <summary>As <see cref="Resolve"/>, and notes the page in a window of the loop, the number of which access is above the access description.</summary>
    ResolveInWindow,

    /// <summary>The same, for an operand at T1 + T2.</summary>
    ResolveAddressInWindow,

    /// <summary>A loop leaves one of its windows: again through the first round.</summary>
    FirstRound,

    /// <summary>An access of a loop is not to its page of last time, whose number is above the access description: look into the TLB, go on.</summary>
    LoopPage,

    /// <summary>Likewise, for an operand at T1 + T2.</summary>
    LoopPageAddress,

    /// <summary>Likewise, for a run.</summary>
    LoopPageOfRun,

    /// <summary>Emulate the instruction after all; its index is the data.</summary>
    Trap,

    /// <summary>Segment limit: run the instruction by its careful translation.</summary>
    Careful,

    /// <summary>A direct jump that is not linked yet.</summary>
    Link,

    /// <summary>A poll saw a request; go on at the target afterwards.</summary>
    Poll,

    /// <summary>The same, with RCX in T1.</summary>
    PollKeepingFlags,

    /// <summary>The same, to go on at S-&gt;JumpTarget.</summary>
    PollAtTarget,

    /// <summary>A cross-page jump that the jump cache does not know, with RCX in T1.</summary>
    Miss,

    /// <summary>The same, with the flags not in RFLAGS.</summary>
    CrossPageJumpMiss,

    /// <summary>Likewise a call, whose return address it belongs to.</summary>
    CrossPageCallMiss,

    /// <summary>The same, with the return address in T1.</summary>
    CrossPageCallMissNear,

    /// <summary>A cross-page jump, or (if it resumes) call, that the jump cache does not know, with the target in S-&gt;Rip and the flags not in RFLAGS.</summary>
    MissByRip,

    /// <summary>T1 = target: the entry of a jump's site does not know it.</summary>
    SiteMiss,

    /// <summary>An indirect jump that the jump cache does not know; S-&gt;Rip is set.</summary>
    IndirectMiss,

    /// <summary>An indirect jump whose site does not know the target, which is in T1.</summary>
    IndirectSiteMiss,

    /// <summary>A request is pending at an indirect jump: T1 = target.</summary>
    IndirectRequest,

    /// <summary>An indirect call whose site does not know the target: in T1 and S-&gt;JumpTarget.</summary>
    CallSiteMiss,

    /// <summary>What the next part is for, from one more place.</summary>
    AsNext,

    /// <summary>A return that the topmost call frame does not answer: T1 = target.</summary>
    ReturnMiss,

    /// <summary>An indirect call that the jump cache does not know; S-&gt;JumpTarget is set.</summary>
    CallMiss,

    /// <summary>An indirect jump to an address that is not canonical, or beyond the code segment's limit.</summary>
    RefusedTarget,
}

/// <summary>A part of a block that is rarely run, and stands behind it.</summary>
internal readonly unsafe struct ColdPart(ColdKind kind, ulong rip, byte* jump, byte* resume, ulong data = 0, FlagsAt flags = FlagsAt.Host, AddressSpace space = AddressSpace.User, FlagRecipe recipe = default)
{
    public ColdKind Kind => kind;

    /// <summary>The instruction it belongs to.</summary>
    public ulong Rip => rip;

    /// <summary>The displacement (writable address) that is to lead here.</summary>
    public byte* Jump => jump;

    /// <summary>Where to go on (executable address).</summary>
    public byte* Resume => resume;

    /// <summary>Access description, or jump target.</summary>
    public ulong Data => data;

    /// <summary>Where the flags are.</summary>
    public FlagsAt Flags => recipe.Exists ? flags : flags & ~FlagsAt.Recipe;

    /// <summary>How they are made, if they are nowhere.</summary>
    public FlagRecipe Recipe => recipe;

    /// <summary>With whose rights memory is accessed.</summary>
    public AddressSpace Space => space;
}
