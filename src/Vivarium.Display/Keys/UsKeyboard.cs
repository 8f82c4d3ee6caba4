using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>Which key has which character on the keyboard that guests take theirs for as long as nobody tells them otherwise.</summary>
public static class UsKeyboard
{
    // In the order of the keys' numbers, from 1 on; what no character stands for is a space, as is the space bar at the end.
    private const string Plain = " 1234567890-=  qwertyuiop[]  asdfghjkl;'` \\zxcvbnm,./";
    private const string Shifted = " !@#$%^&*()_+  QWERTYUIOP{}  ASDFGHJKL:\"~ |ZXCVBNM<>?";

    /// <summary>How a character is typed; null if no key has it.</summary>
    public static KeyStroke? Find(char character)
    {
        switch (character)
        {
            case ' ':
                return new KeyStroke(Key.Space);
            case '\n' or '\r':
                return new KeyStroke(Key.Enter);
            case '\t':
                return new KeyStroke(Key.Tab);
            case '\b' or '\x7F':
                return new KeyStroke(Key.Backspace);
            case '\x1B':
                return new KeyStroke(Key.Escape);
            case > '\0' and < ' ':
                // With Control, a letter or one of the characters behind them.
                return Find(char.ToLowerInvariant((char)(character + '@'))) is { } stroke ? stroke with { Modifiers = stroke.Modifiers | KeyModifiers.Control } : null;
            case '\0':
                return new KeyStroke(Key.Space, KeyModifiers.Control);
        }

        int place = Plain.IndexOf(character, StringComparison.Ordinal);
        if (place >= 0)
        {
            return new KeyStroke((Key)(place + 1));
        }

        place = Shifted.IndexOf(character, StringComparison.Ordinal);
        return place >= 0 ? new KeyStroke((Key)(place + 1), KeyModifiers.Shift) : null;
    }
}
