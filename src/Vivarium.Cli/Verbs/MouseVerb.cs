using System.CommandLine;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv mouse</c>: moves a machine's mouse, and presses its buttons.</summary>
internal static class MouseVerb
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var words = new Argument<string[]>("action") { Description = "move DX DY, wheel NOTCHES, click|press|release [left|right|middle|back|forward]", Arity = ArgumentArity.OneOrMore };
        var mouse = new Command("mouse", "Move a machine's mouse, or press its buttons.") { name, words };

        // So that -5 is a number.
        mouse.TreatUnmatchedTokensAsErrors = true;
        mouse.SetAction(parsed =>
        {
            string[] action = parsed.GetValue(words)!;
            _ = MouseAction.Parse(action);
            using ControlClient client = ControlClient.Connect(MachineRegistry.Open().Find(parsed.GetValue(name)!));
            _ = client.Ask(new ControlOrder(ControlVerb.Mouse) { Text = string.Join(' ', action) }, s_patience);
            return ExitStatus.Success;
        });
        return mouse;
    }
}
