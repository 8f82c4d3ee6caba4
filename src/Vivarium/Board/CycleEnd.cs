namespace Vivarium.Board;

internal enum CycleEndKind
{
    PowerOff,
    Reset,
    DebugExit,
    Crash,
    TimedOut,
    Stopped,
    Failed,
}

/// <summary>Why a machine stopped running between one power-on (or reset) and the next.</summary>
internal sealed record CycleEnd(CycleEndKind Kind, string? Detail = null, uint Value = 0, string? Registers = null)
{
    public MachineExit ToExit() => Kind switch
    {
        CycleEndKind.PowerOff => new MachineExit(ExitKind.PoweredOff),
        CycleEndKind.Reset => new MachineExit(ExitKind.Rebooted),
        CycleEndKind.DebugExit => new MachineExit(ExitKind.DebugExit, Value: Value),
        CycleEndKind.Crash => new MachineExit(ExitKind.Crashed, Detail, Registers),
        CycleEndKind.TimedOut => new MachineExit(ExitKind.TimedOut),
        CycleEndKind.Stopped => new MachineExit(ExitKind.Stopped),
        _ => new MachineExit(ExitKind.Failed, Detail),
    };
}
