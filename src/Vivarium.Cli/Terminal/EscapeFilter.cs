namespace Vivarium.Cli.Terminal;

/// <summary>What the user asked viv, rather than the guest, to do.</summary>
internal enum ConsoleCommand
{
    None,
    End,
    Detach,
    Help,
}

/// <summary>Finds the Ctrl-A commands among typed bytes; everything else goes on to the guest.</summary>
internal sealed class EscapeFilter
{
    public const byte Escape = 0x01;

    private bool _escaped;

    /// <summary>Takes one typed byte. True if <paramref name="forGuest"/> is to be sent.</summary>
    public bool Take(byte typed, out byte forGuest, out ConsoleCommand command)
    {
        forGuest = typed;
        command = ConsoleCommand.None;
        if (!_escaped)
        {
            _escaped = typed == Escape;
            return !_escaped;
        }

        _escaped = false;
        switch (typed)
        {
            case Escape:
                return true;
            case (byte)'x' or (byte)'X':
                command = ConsoleCommand.End;
                return false;
            case (byte)'d' or (byte)'D':
                command = ConsoleCommand.Detach;
                return false;
            case (byte)'h' or (byte)'H' or (byte)'?':
                command = ConsoleCommand.Help;
                return false;
            default:
                // An unknown command is nobody's input: dropping it is what terminal users know from similar tools.
                return false;
        }
    }
}
