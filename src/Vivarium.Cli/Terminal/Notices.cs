namespace Vivarium.Cli.Terminal;

/// <summary>What viv itself says: always on stderr, so that stdout is the guest's alone.</summary>
internal static class Notices
{
    public const string Keys = "Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this";

    public const string ViewerKeys = "Ctrl-A d leaves the console, the machine runs on; Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this";

    private static readonly Lock s_lock = new();
    private static Action<string>? s_shown;
    private static List<string> s_held = [];

    /// <summary>
    /// While the guest's screen fills the terminal, lines are shown by <paramref name="show"/>, and written when it is given back: null.
    /// Others than the last hundred are lost.
    /// </summary>
    public static void ShowBy(Action<string>? show)
    {
        List<string> held;
        lock (s_lock)
        {
            s_shown = show;
            (held, s_held) = (s_held, []);
        }

        foreach (string line in held)
        {
            Say(line);
        }
    }

    /// <summary>One line. The carriage return matters while the terminal is raw, and does no harm otherwise.</summary>
    public static void Say(string line)
    {
        const int most = 100;
        lock (s_lock)
        {
            if (s_shown is { } show)
            {
                if (s_held.Count == most)
                {
                    s_held.RemoveAt(0);
                }

                s_held.Add(line);
                show(line);
                return;
            }
        }

        Console.Error.Write($"viv: {line}{LineEnd}");
    }

    public static void Block(string text) => Console.Error.Write(text.ReplaceLineEndings(LineEnd) + LineEnd);

    private static string LineEnd => RawTerminal.IsTerminal(Host.Posix.StandardError) ? "\r\n" : "\n";
}
