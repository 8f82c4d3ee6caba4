using System.CommandLine;
using Vivarium.Cli.Machines;
using Vivarium.Input;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv key</c>: presses keys of a machine's keyboard together.</summary>
internal static class KeyVerb
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var keys = new Argument<string[]>("keys") { Description = "Keys to press one after the other, or together with - between them: ctrl-alt-f2, enter, down", Arity = ArgumentArity.OneOrMore };
        var hold = new Option<string?>("--hold") { HelpName = "TIME", Description = "How long they are held (10ms); a key that is held half a second repeats", Arity = ArgumentArity.ExactlyOne };
        var key = new Command("key", "Press keys of a machine's keyboard.") { name, keys, hold };
        key.SetAction(parsed =>
        {
            string[] chords = parsed.GetValue(keys)!;
            foreach (string chord in chords)
            {
                _ = KeyChord.Parse(chord);
            }

            TimeSpan time = parsed.GetValue(hold) is { } text ? TypeVerb.ParsePause(text) : MachineKeyboard.DefaultPause;
            MachineEntry machine = MachineRegistry.Open().Find(parsed.GetValue(name)!);
            foreach (string chord in chords)
            {
                using ControlClient client = ControlClient.Connect(machine);
                _ = client.Ask(new ControlOrder(ControlVerb.Key) { Text = chord, Seconds = time.TotalSeconds }, s_patience + (2 * time));
            }

            return ExitStatus.Success;
        });
        return key;
    }
}
