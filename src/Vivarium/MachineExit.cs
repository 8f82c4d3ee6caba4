namespace Vivarium;

/// <summary>How a machine came to its end.</summary>
public enum ExitKind
{
    /// <summary>The guest switched the power off.</summary>
    PoweredOff,

    /// <summary>The guest reset the machine, and <see cref="RebootPolicy.End"/> was asked for.</summary>
    Rebooted,

    /// <summary>Triple fault, or something that the engine cannot execute.</summary>
    Crashed,

    /// <summary><see cref="MachineSpec.Timeout"/> has passed.</summary>
    TimedOut,

    /// <summary>The guest wrote to the debug-exit port; <see cref="MachineExit.Value"/> is what it wrote.</summary>
    DebugExit,

    /// <summary>The monitor itself failed.</summary>
    Failed,

    /// <summary><see cref="VirtualMachine.StopAsync"/> was called.</summary>
    Stopped,
}

/// <summary>Why a machine ended.</summary>
/// <param name="Kind">The reason.</param>
/// <param name="Detail">For <see cref="ExitKind.Crashed"/> and <see cref="ExitKind.Failed"/>: one sentence.</param>
/// <param name="Registers">For <see cref="ExitKind.Crashed"/>: the processor's registers, several lines.</param>
/// <param name="Value">For <see cref="ExitKind.DebugExit"/>: the value written.</param>
public sealed record MachineExit(ExitKind Kind, string? Detail = null, string? Registers = null, uint Value = 0);
