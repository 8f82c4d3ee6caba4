using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv stop</c>: asks a guest to shut down, as the power button of its case does, and waits until it has.</summary>
internal static class StopVerb
{
    private static readonly TimeSpan s_pressAgain = TimeSpan.FromSeconds(10);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var timeout = new Option<string>("--timeout") { HelpName = "TIME", Description = "How long the guest may take", DefaultValueFactory = _ => "60s" };
        var kill = new Option<bool>("--kill") { Description = "Kill the machine if it has not ended by then" };
        var json = new Option<bool>("--json") { Description = "Say how it ended as JSON" };
        var stop = new Command("stop", "Ask a machine's guest to shut down (ACPI power button), and wait until it has.") { name, timeout, kill, json };
        stop.SetAction(parsed => Stop(parsed.GetValue(name)!, RunOptions.ParseTimeout(parsed.GetValue(timeout)!), parsed.GetValue(kill), parsed.GetValue(json)));
        return stop;
    }

    private static int Stop(string name, TimeSpan patience, bool kill, bool json)
    {
        MachineRegistry registry = MachineRegistry.Open();
        MachineEntry machine = registry.Find(name);
        EndRecord? end = PressAndWait(machine, patience);
        bool killed = end is null && kill;
        if (end is null && !kill)
        {
            Notices.Say($"the guest of '{name}' did not shut down within {patience.TotalSeconds:0.###} s of its power button being pressed; viv kill {name} ends it at once, as by pulling the plug");
            return ExitStatus.Timeout;
        }

        end ??= MachineKiller.Kill(registry, machine);
        if (!killed && !registry.WaitUntilGone(machine, MachineKiller.Patience))
        {
            throw new VivariumException($"the guest of '{name}' has ended ({end.Reason}), but its process {machine.Record?.Pid} has not; viv kill {name} ends it");
        }

        if (json)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(new StopReport(name, killed, end), StopJson.Default.StopReport));
        }

        return ExitStatus.Success;
    }

    /// <summary>Null if the machine runs still when the time is over.</summary>
    private static EndRecord? PressAndWait(MachineEntry machine, TimeSpan patience)
    {
        using ControlClient waiter = ControlClient.Connect(machine);
        _ = waiter.Ask(ControlVerb.Wait);
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            // A guest that is still booting may have missed it; one that shuts down does not mind. A connection for each
            // press: the machine hangs up on who says nothing for as long as we wait.
            using (ControlClient presser = ControlClient.Connect(machine))
            {
                _ = presser.Ask(ControlVerb.Stop);
            }

            double left = end - Environment.TickCount64;
            if (left <= 0)
            {
                return null;
            }

            if (waiter.Receive(TimeSpan.FromMilliseconds(Math.Min(left, s_pressAgain.TotalMilliseconds))) is { } reply)
            {
                return reply.Ended ?? new EndRecord(ExitStatus.Success, "ended");
            }
        }
    }
}

/// <param name="Killed">The guest did not answer in time.</param>
internal sealed record StopReport(string Name, bool Killed, EndRecord Ended);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(StopReport))]
internal sealed partial class StopJson : JsonSerializerContext;
