namespace Vivarium.Cli.Terminal;

/// <summary>What viv itself says: always on stderr, so that stdout is the guest's alone.</summary>
internal static class Notices
{
    public const string Keys = "Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this";

    public const string ViewerKeys = "Ctrl-A d leaves the console, the machine runs on; Ctrl-A x ends the machine, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h shows this";

    /// <summary>One line. The carriage return matters while the terminal is raw, and does no harm otherwise.</summary>
    public static void Say(string line) => Console.Error.Write($"viv: {line}{LineEnd}");

    public static void Block(string text) => Console.Error.Write(text.ReplaceLineEndings(LineEnd) + LineEnd);

    private static string LineEnd => RawTerminal.IsTerminal(Host.Posix.StandardError) ? "\r\n" : "\n";
}
