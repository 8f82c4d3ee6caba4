using System.Collections.Immutable;

namespace Vivarium.Engine;

/// <summary>
/// What a debugger outside of the guest wants a vCPU to stop for, as KVM_SET_GUEST_DEBUG has it. It is apart from the guest's own
/// debug registers and EFLAGS.TF, which go on working, and the guest sees nothing of it: no memory is changed.
/// </summary>
public sealed record GuestDebug
{
    /// <summary>
    /// Stop after one instruction, or one iteration of a repeated string instruction, or at the first instruction of the handler
    /// that one enters by an exception. That instruction meets no breakpoint.
    /// </summary>
    public bool SingleStep { get; init; }

    /// <summary>Interrupts wait (KVM_GUESTDBG_BLOCKIRQ), except those that end a HLT: a step then stays in the code that the user looks at.</summary>
    public bool BlockInterrupts { get; init; }

    /// <summary>Stop before an instruction at one of these linear addresses, in whatever address space.</summary>
    public ImmutableHashSet<ulong> Breakpoints { get; init; } = [];

    /// <summary>Stop after an instruction that accesses one of these. Accesses of page walks, descriptor loads and event delivery do not count.</summary>
    public ImmutableArray<Watchpoint> Watchpoints { get; init; } = [];
}

/// <summary>Which data accesses a <see cref="Watchpoint"/> is for.</summary>
public enum WatchKind : byte
{
    Write,
    Read,
    Access,
}

/// <summary>Bytes at a linear address that are watched.</summary>
/// <param name="Address">Linear; aligned to nothing.</param>
/// <param name="Length">In bytes, at least 1; the range ends below 2^64.</param>
/// <param name="Kind">What counts.</param>
public readonly record struct Watchpoint(ulong Address, ulong Length, WatchKind Kind)
{
    /// <summary>True if an access of <paramref name="size"/> bytes, at least 1, is one to stop for.</summary>
    public bool Meets(ulong address, int size, bool write) =>
        (Kind == WatchKind.Access || write == (Kind == WatchKind.Write)) && Overlaps(address, (ulong)size);

    /// <summary>True if the range has a byte in common with <paramref name="size"/> bytes, at least 1, from <paramref name="address"/> on.</summary>
    public bool Overlaps(ulong address, ulong size) => address <= Address + (Length - 1) && Address <= address + (size - 1);
}

/// <summary>Why <see cref="IVcpu.Run"/> returned <see cref="ExitReason.Debug"/>.</summary>
public enum DebugCause : byte
{
    None,

    /// <summary><see cref="GuestDebug.SingleStep"/> is done.</summary>
    Step,

    /// <summary>One of <see cref="GuestDebug.Breakpoints"/>: RIP is there, and its instruction has not run.</summary>
    Breakpoint,

    /// <summary>One of <see cref="GuestDebug.Watchpoints"/>: the instruction that accessed it has run.</summary>
    Watchpoint,
}
