using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>A key that is pressed and let go, with others held down around it.</summary>
public readonly record struct KeyStroke(Key Key, KeyModifiers Modifiers = KeyModifiers.None)
{
    /// <summary>How a terminal's character is typed; null if no key of a US keyboard has it.</summary>
    public static KeyStroke? For(char character) => character switch
    {
        '\0' => new KeyStroke(Key.Space, KeyModifiers.Control),
        '\x7F' => new KeyStroke(Key.Backspace),
        _ when UsKeyboard.TryFind(character, out Key key, out bool shift) => new KeyStroke(key, shift ? KeyModifiers.Shift : KeyModifiers.None),

        // With Control, a letter or one of the characters behind them.
        < ' ' when For(char.ToLowerInvariant((char)(character + '@'))) is { } stroke => stroke with { Modifiers = stroke.Modifiers | KeyModifiers.Control },
        _ => null,
    };

    public void Press(IKeyboardSink keyboard)
    {
        Hold(keyboard, down: true);
        keyboard.SetKey(Key, true);
        keyboard.SetKey(Key, false);
        Hold(keyboard, down: false);
    }

    private void Hold(IKeyboardSink keyboard, bool down)
    {
        if ((Modifiers & KeyModifiers.Control) != 0)
        {
            keyboard.SetKey(Key.LeftControl, down);
        }

        if ((Modifiers & KeyModifiers.Alt) != 0)
        {
            keyboard.SetKey(Key.LeftAlt, down);
        }

        if ((Modifiers & KeyModifiers.Shift) != 0)
        {
            keyboard.SetKey(Key.LeftShift, down);
        }
    }
}
