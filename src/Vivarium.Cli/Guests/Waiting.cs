using Spectre.Console;

namespace Vivarium.Cli.Guests;

/// <summary>Shows on stderr what is being waited for: one changing line on a terminal, plain lines elsewhere.</summary>
internal static class Waiting
{
    /// <param name="title">What the whole is.</param>
    /// <param name="work">Is given whom to tell each step, and whether the step is fit for a plain line of its own.</param>
    public static T Show<T>(string title, Func<Action<string, bool>, T> work)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        if (!console.Profile.Capabilities.Interactive || Console.IsErrorRedirected)
        {
            return work((step, isLine) =>
            {
                if (isLine)
                {
                    Console.Error.WriteLine($"viv: {step}");
                }
            });
        }

        return console.Status().Start($"viv: {title}", status => work((step, _) => status.Status($"viv: {Markup.Escape(step)}")));
    }
}
