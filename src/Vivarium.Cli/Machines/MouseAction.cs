using System.Globalization;
using Vivarium.Devices;

namespace Vivarium.Cli.Machines;

/// <summary>What kind of thing is done with a mouse.</summary>
internal enum MouseActionKind
{
    Move,
    Wheel,
    Click,
    Press,
    Release,
}

/// <summary>Something done with a mouse, as words say it: <c>move 10 -5</c>, <c>wheel 3</c>, <c>click right</c>.</summary>
/// <param name="X">To the right, in counts; or notches of the wheel towards the user.</param>
/// <param name="Y">Down, in counts.</param>
internal readonly record struct MouseAction(MouseActionKind Kind, int X = 0, int Y = 0, PointerButtons Buttons = PointerButtons.None)
{
    private const int FarthestMove = 32767;
    private const int MostNotches = 1000;
    private const string Forms = "move DX DY, wheel NOTCHES, click [BUTTON], press [BUTTON], release [BUTTON]";

    private static readonly (string Name, PointerButtons Button)[] s_buttons =
    [
        ("left", PointerButtons.Left),
        ("right", PointerButtons.Right),
        ("middle", PointerButtons.Middle),
        ("back", PointerButtons.Back),
        ("forward", PointerButtons.Forward),
    ];

    /// <exception cref="InvalidInputException">The words say nothing that a mouse does; the message says what would.</exception>
    public static MouseAction Parse(IReadOnlyList<string> words) => words switch
    {
        ["move", var x, var y] => new MouseAction(MouseActionKind.Move, Number(x, FarthestMove), Number(y, FarthestMove)),
        ["wheel", var notches] => new MouseAction(MouseActionKind.Wheel, Number(notches, MostNotches)),
        ["click"] => new MouseAction(MouseActionKind.Click, Buttons: PointerButtons.Left),
        ["press"] => new MouseAction(MouseActionKind.Press, Buttons: PointerButtons.Left),
        ["release"] => new MouseAction(MouseActionKind.Release, Buttons: PointerButtons.Left),
        ["click", var button] => new MouseAction(MouseActionKind.Click, Buttons: Button(button)),
        ["press", var button] => new MouseAction(MouseActionKind.Press, Buttons: Button(button)),
        ["release", var button] => new MouseAction(MouseActionKind.Release, Buttons: Button(button)),
        [] => throw new InvalidInputException($"say what the mouse is to do: {Forms}"),
        _ => throw new InvalidInputException($"a mouse does not understand '{string.Join(' ', words)}'; it can {Forms}"),
    };

    private static int Number(string text, int most) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && Math.Abs((long)value) <= most
            ? value
            : throw new InvalidInputException($"'{text}' is no number from -{most} to {most}");

    private static PointerButtons Button(string name)
    {
        foreach ((string known, PointerButtons button) in s_buttons)
        {
            if (known == name)
            {
                return button;
            }
        }

        throw new InvalidInputException($"there is no mouse button '{name}'; known are {string.Join(", ", s_buttons.Select(button => button.Name))}");
    }
}
