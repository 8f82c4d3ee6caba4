using System.CommandLine;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv kill</c>: ends a machine at once.</summary>
internal static class KillVerb
{
    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var kill = new Command("kill", "End a machine at once, as by pulling the plug.") { name };
        kill.SetAction(parsed =>
        {
            MachineRegistry registry = MachineRegistry.Open();
            _ = MachineKiller.Kill(registry, registry.Find(parsed.GetValue(name)!));
            return ExitStatus.Success;
        });
        return kill;
    }
}
