namespace Vivarium.Engine;

/// <summary>Why <see cref="IVcpu.Run"/> returned.</summary>
public enum ExitReason : byte
{
    None,

    /// <summary>HLT (or MWAIT) with nothing to deliver: the vCPU waits for an interrupt, NMI or INIT.</summary>
    Halt,

    /// <summary>Triple fault: the processor has shut down.</summary>
    Shutdown,

    /// <summary>What <see cref="IVcpu.SetGuestDebug"/> asked for; <see cref="VmExit.DebugCause"/> says what.</summary>
    Debug,

    /// <summary><see cref="IVcpu.Kick"/> was called.</summary>
    Cancelled,

    /// <summary>The engine met something it cannot execute; <see cref="VmExit.Detail"/> says what. Guest state is at the instruction.</summary>
    InternalError,
}

/// <summary>Control has passed from guest code to the monitor. A plain value: reporting one allocates nothing.</summary>
public struct VmExit
{
    public ExitReason Reason;

    /// <summary>For <see cref="ExitReason.InternalError"/>: one sentence for the user.</summary>
    public string? Detail;

    /// <summary>For <see cref="ExitReason.Debug"/>.</summary>
    public DebugCause DebugCause;

    /// <summary>For <see cref="DebugCause.Watchpoint"/>: which, and the first byte of it that was accessed.</summary>
    public Watchpoint Watchpoint;
    public ulong WatchedAddress;
}
