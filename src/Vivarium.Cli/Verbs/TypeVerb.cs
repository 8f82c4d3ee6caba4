using System.CommandLine;
using System.Globalization;
using System.Text;
using Vivarium.Cli.Machines;
using Vivarium.Input;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv type</c>: types a text on a machine's keyboard.</summary>
internal static class TypeVerb
{
    /// <summary>What goes in one request; its line is bounded.</summary>
    private const int ChunkLength = 400;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var text = new Argument<string>("text") { Description = @"What to type on a US keyboard; \n is Enter, \t Tab, \b Backspace, \e Escape, \\ a backslash" };
        var pause = new Option<string?>("--pause") { HelpName = "TIME", Description = "How long each key is held, and how long the next one waits (10ms)", Arity = ArgumentArity.ExactlyOne };
        var type = new Command("type", "Type a text on a machine's keyboard.") { name, text, pause };
        type.SetAction(parsed =>
        {
            string typed = Unescape(parsed.GetValue(text)!);
            TypedText.Check(typed);
            TimeSpan wait = parsed.GetValue(pause) is { } time ? ParsePause(time) : MachineKeyboard.DefaultPause;
            MachineEntry machine = MachineRegistry.Open().Find(parsed.GetValue(name)!);
            foreach (char[] chunk in typed.Chunk(ChunkLength))
            {
                using ControlClient client = ControlClient.Connect(machine);
                _ = client.Ask(new ControlOrder(ControlVerb.Type) { Text = new string(chunk), Seconds = wait.TotalSeconds }, s_patience + (2 * chunk.Length * wait));
            }

            return ExitStatus.Success;
        });
        return type;
    }

    /// <exception cref="InvalidInputException">The text is no time that a key can be held.</exception>
    public static TimeSpan ParsePause(string text) => RunOptions.TryParseTime(text, out TimeSpan time) && time <= TimeSpan.FromSeconds(10)
        ? time
        : throw new InvalidInputException($"'{text}' is no time to hold a key; write for example --pause 30ms");

    /// <exception cref="InvalidInputException">There is a backslash with something behind it that means nothing.</exception>
    public static string Unescape(string text)
    {
        var result = new StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\')
            {
                _ = result.Append(text[i]);
                continue;
            }

            if (++i == text.Length)
            {
                throw new InvalidInputException(@"the text ends in a backslash that means nothing; write \\ for a backslash");
            }

            _ = result.Append(text[i] switch
            {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\b',
                'e' => '\u001b',
                '\\' => '\\',
                var other => throw new InvalidInputException(string.Create(CultureInfo.InvariantCulture, $@"'\{other}' means nothing; known are \n, \t, \b, \e, and \\ for a backslash")),
            });
        }

        return result.ToString();
    }
}
