using Spectre.Console;

namespace Vivarium.Cli.Verbs;

/// <summary>Standard output for the verbs whose product is text: coloured on a terminal, plain and unwrapped elsewhere.</summary>
internal static class Report
{
    private const int PlainWidth = 200;

    public static IAnsiConsole Create()
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) });
        if (Console.IsOutputRedirected)
        {
            console.Profile.Width = PlainWidth;
        }

        return console;
    }
}
