namespace Vivarium.Devices;

/// <summary>What can be read on a screen, and what could be read there before.</summary>
/// <param name="Scrolled">Lines that have left the screen, the oldest first, as far as they are remembered; without blanks at their ends.</param>
/// <param name="ScrolledEver">How many lines have left the screen since power-on, remembered or not.</param>
/// <param name="Visible">The rows of the screen, likewise; empty in a graphics mode.</param>
public sealed record ScreenText(IReadOnlyList<string> Scrolled, long ScrolledEver, IReadOnlyList<string> Visible)
{
    public static ScreenText Nothing { get; } = new([], 0, []);

    /// <summary>All of it, a line for each row.</summary>
    public override string ToString() => string.Join('\n', Scrolled.Concat(Visible));
}
