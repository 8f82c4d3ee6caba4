namespace Vivarium.Devices;

/// <summary>The keys that a US keyboard types characters with.</summary>
public static class UsKeyboard
{
    /// <summary>The characters of each key without and with Shift.</summary>
    private static readonly (Key Key, char Plain, char Shifted)[] s_keys =
    [
        (Key.Grave, '`', '~'), (Key.Digit1, '1', '!'), (Key.Digit2, '2', '@'), (Key.Digit3, '3', '#'), (Key.Digit4, '4', '$'),
        (Key.Digit5, '5', '%'), (Key.Digit6, '6', '^'), (Key.Digit7, '7', '&'), (Key.Digit8, '8', '*'), (Key.Digit9, '9', '('),
        (Key.Digit0, '0', ')'), (Key.Minus, '-', '_'), (Key.Equal, '=', '+'), (Key.LeftBracket, '[', '{'), (Key.RightBracket, ']', '}'),
        (Key.Backslash, '\\', '|'), (Key.Semicolon, ';', ':'), (Key.Apostrophe, '\'', '"'), (Key.Comma, ',', '<'), (Key.Period, '.', '>'),
        (Key.Slash, '/', '?'),
        (Key.A, 'a', 'A'), (Key.B, 'b', 'B'), (Key.C, 'c', 'C'), (Key.D, 'd', 'D'), (Key.E, 'e', 'E'), (Key.F, 'f', 'F'), (Key.G, 'g', 'G'),
        (Key.H, 'h', 'H'), (Key.I, 'i', 'I'), (Key.J, 'j', 'J'), (Key.K, 'k', 'K'), (Key.L, 'l', 'L'), (Key.M, 'm', 'M'), (Key.N, 'n', 'N'),
        (Key.O, 'o', 'O'), (Key.P, 'p', 'P'), (Key.Q, 'q', 'Q'), (Key.R, 'r', 'R'), (Key.S, 's', 'S'), (Key.T, 't', 'T'), (Key.U, 'u', 'U'),
        (Key.V, 'v', 'V'), (Key.W, 'w', 'W'), (Key.X, 'x', 'X'), (Key.Y, 'y', 'Y'), (Key.Z, 'z', 'Z'),
    ];

    private static readonly (Key Key, char Character)[] s_unshifted =
    [
        (Key.Space, ' '), (Key.Enter, '\n'), (Key.Enter, '\r'), (Key.Tab, '\t'), (Key.Backspace, '\b'), (Key.Escape, '\u001b'),
    ];

    private static readonly Dictionary<char, (Key Key, bool Shift)> s_characters = Characters();

    /// <summary>The key for a character, and whether Shift is down with it. False if no key of a US keyboard types it.</summary>
    public static bool TryFind(char character, out Key key, out bool shift)
    {
        bool found = s_characters.TryGetValue(character, out (Key Key, bool Shift) place);
        (key, shift) = place;
        return found;
    }

    private static Dictionary<char, (Key Key, bool Shift)> Characters()
    {
        var characters = new Dictionary<char, (Key Key, bool Shift)>();
        foreach ((Key key, char plain, char shifted) in s_keys)
        {
            characters[plain] = (key, false);
            characters[shifted] = (key, true);
        }

        foreach ((Key key, char character) in s_unshifted)
        {
            characters[character] = (key, false);
        }

        return characters;
    }
}
