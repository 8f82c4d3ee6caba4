using System.CommandLine;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Terminal;
using Vivarium.Expect;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv expect</c>: waits until a guest says something.</summary>
internal static class ExpectVerb
{
    /// <summary>What the answer may take beyond the time that the guest has.</summary>
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(10);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var text = new Argument<string>("text") { Description = "What to wait for" };
        var timeout = new Option<string>("--timeout") { HelpName = "TIME", Description = "How long to wait", DefaultValueFactory = _ => "60s" };
        var regex = new Option<bool>("--regex") { Description = "The text is a regular expression; ^ and $ are the ends of a line" };
        var onlyNew = new Option<bool>("--new") { Description = "Look only at what has come since the last text that viv expect found" };
        var where = new Option<string>("--on") { HelpName = "serial|screen", Description = "Look only there", Arity = ArgumentArity.ExactlyOne };
        var expect = new Command("expect", "Wait until a guest writes a text to its serial console or shows it on its screen, and print the line.") { name, text, timeout, regex, onlyNew, where };
        expect.SetAction(parsed =>
        {
            bool isRegex = parsed.GetValue(regex);
            string wanted = parsed.GetValue(text)!;
            _ = isRegex ? TextPattern.Expression(wanted) : TextPattern.Literal(wanted);
            TextSource source = ParseSource(parsed.GetValue(where));
            TimeSpan patience = RunOptions.ParseTimeout(parsed.GetValue(timeout)!);
            MachineEntry machine = MachineRegistry.Open().Find(parsed.GetValue(name)!);
            using ControlClient client = ControlClient.Connect(machine);
            var order = new ControlOrder(ControlVerb.Expect) { Text = wanted, Regex = isRegex, New = parsed.GetValue(onlyNew), On = source == TextSource.Any ? null : parsed.GetValue(where), Seconds = patience.TotalSeconds };
            if (client.Ask(order, patience + s_grace).Found is { } found)
            {
                Console.Out.WriteLine(found.Line);
                return ExitStatus.Success;
            }

            Notices.Say($"the guest of '{machine.Name}' has not said '{wanted}' within {patience.TotalSeconds:0.###} s");
            return ExitStatus.Timeout;
        });
        return expect;
    }

    /// <exception cref="InvalidInputException">There is no such place.</exception>
    public static TextSource ParseSource(string? text) => text switch
    {
        null => TextSource.Any,
        "serial" => TextSource.Serial,
        "screen" => TextSource.Screen,
        _ => throw new InvalidInputException($"a guest does not write on '{text}'; known are serial, screen"),
    };
}
