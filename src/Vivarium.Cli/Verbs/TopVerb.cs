using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Statistics;
using Vivarium.Cli.Terminal;
using Vivarium.Cli.Terminal.Host;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv top</c>: where a running machine's time goes. As long as it looks, the machine measures.</summary>
internal static class TopVerb
{
    private const string Home = "\e[H";
    private const string ClearBelow = "\e[J";
    private const string EndOfLine = "\e[K\n";
    private static readonly TimeSpan s_shortest = TimeSpan.FromMilliseconds(100);

    /// <summary>The machine gives up a client that is silent for longer.</summary>
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var once = new Option<bool>("--once") { Description = "Show one interval and end" };
        var json = new Option<bool>("--json") { Description = "Print all counters, since the machine's start, as one line of JSON for each interval" };
        var interval = new Option<string>("--interval")
        {
            HelpName = "TIME",
            Description = "How often to look, from 100ms to 5s",
            Arity = ArgumentArity.ExactlyOne,
            DefaultValueFactory = _ => "1s",
        };
        var top = new Command("top", "Show where a machine's time goes: exits by reason, TLBs, translations.") { name, once, json, interval };
        top.SetAction(parsed => Show(parsed.GetValue(name)!, parsed.GetValue(once), parsed.GetValue(json), ParseInterval(parsed.GetValue(interval)!)));
        return top;
    }

    /// <exception cref="InvalidInputException">The text is no time, or not such a time.</exception>
    public static TimeSpan ParseInterval(string text)
        => RunOptions.TryParseTime(text, out TimeSpan interval) && interval >= s_shortest && interval <= s_longest
            ? interval
            : throw new InvalidInputException($"viv top looks every 100ms to 5s, and not every '{text}'; write for example --interval 2s");

    private static int Show(string name, bool once, bool json, TimeSpan interval)
    {
        MachineEntry machine = MachineRegistry.Open().Find(name);
        using ControlClient client = ControlClient.Connect(machine);
        using var interrupted = new ManualResetEventSlim();
        using var onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        using var onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        bool live = !once && !json && !Console.IsOutputRedirected;
        using var output = new StandardOutput();
        MachineSample before = Ask(client, machine);
        while (!interrupted.Wait(interval))
        {
            MachineSample now;
            try
            {
                now = Ask(client, machine);
            }
            catch (VivariumException) when (!once && MachineRegistry.Open().List().All(running => running.Name != machine.Name))
            {
                Notices.Say($"machine {machine.Described} has ended");
                break;
            }

            string text = json
                ? JsonSerializer.Serialize(now, MachineSampleJson.Default.MachineSample)
                : $"{Title(machine, now, before)}\n{StatisticsTable.Format(now, before)}";
            try
            {
                output.Write(Encoding.UTF8.GetBytes(live ? Screen(text) : json || once ? text + "\n" : text + "\n\n"));
            }
            catch (IOException e) when (e.HResult == Posix.BrokenPipe)
            {
                // As in viv top NAME | head.
                break;
            }

            if (once)
            {
                break;
            }

            before = now;
        }

        return ExitStatus.Success;

        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            interrupted.Set();
        }
    }

    /// <summary>As much of a text as the terminal's window shows, in place of what it shows now.</summary>
    private static string Screen(string text)
    {
        (int width, int height) = (Math.Max(Console.WindowWidth, 1), Math.Max(Console.WindowHeight, 2));
        IEnumerable<string> lines = text.Split('\n').Take(height - 1).Select(line => line.Length > width ? line[..width] : line);
        return Home + string.Concat(lines.Select(line => line + EndOfLine)) + ClearBelow;
    }

    private static string Title(MachineEntry machine, MachineSample now, MachineSample before)
        => string.Create(CultureInfo.InvariantCulture, $"{machine.Name}: {now.Processors.Count} vCPU, the last {now.Clock - before.Clock:0.0} s");

    private static MachineSample Ask(ControlClient client, MachineEntry machine) => client.Ask(new ControlOrder(ControlVerb.Statistics), s_patience).Statistics
        ?? throw new VivariumException($"machine {machine.Described} tells no statistics; is it run by another version of viv?");
}
