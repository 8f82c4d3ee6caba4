using Vivarium.Cli.Machines;
using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

/// <summary>What a machine's end means to the user: an exit status and a few words.</summary>
internal static class ExitReport
{
    public static EndRecord Understand(MachineExit exit, TimeSpan? limit) => exit.Kind switch
    {
        ExitKind.Crashed => new(ExitStatus.GuestCrashed, $"the guest crashed: {exit.Detail}"),
        ExitKind.TimedOut => new(ExitStatus.Timeout, $"the guest was still running after {limit!.Value.TotalSeconds:0.###} s"),
        ExitKind.DebugExit => new((int)((exit.Value << 1) | 1) & 0xFF, $"the guest left through debug-exit with {exit.Value}"),
        ExitKind.Failed => new(ExitStatus.Failure, exit.Detail ?? "the monitor failed"),
        ExitKind.Rebooted => new(ExitStatus.Success, "the guest rebooted"),
        ExitKind.Stopped => new(ExitStatus.Success, "killed"),
        _ => new(ExitStatus.Success, "powered off"),
    };

    /// <summary>Says on stderr what the user cannot know already.</summary>
    public static void Say(MachineExit exit, EndRecord end)
    {
        if (exit.Kind is ExitKind.Crashed or ExitKind.TimedOut or ExitKind.Failed or ExitKind.Rebooted)
        {
            Notices.Say(end.Reason);
        }

        if (exit.Kind == ExitKind.Crashed)
        {
            Notices.Block(exit.Registers ?? "");
        }
    }
}
