using System.Globalization;
using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>
/// Understands what a terminal sends for keys (ECMA-48 and what xterm made of it), as keys of a PC. What comes in one piece was
/// pressed as one key: an escape character alone is the Escape key, one with a character behind it is Alt.
/// </summary>
public static class TerminalKeys
{
    private const byte Escape = 0x1B;
    private const int LongestSequence = 16;

    /// <summary>Takes one piece of input, and presses keys in order.</summary>
    public static void Read(ReadOnlySpan<byte> typed, Action<KeyStroke> press)
    {
        while (!typed.IsEmpty)
        {
            typed = typed[ReadOne(typed, press)..];
        }
    }

    private static int ReadOne(ReadOnlySpan<byte> typed, Action<KeyStroke> press)
    {
        if (typed[0] != Escape)
        {
            // Characters beyond ASCII have no key.
            if (typed[0] < 0x80 && KeyStroke.For((char)typed[0]) is { } plain)
            {
                press(plain);
            }

            return 1;
        }

        if (typed.Length == 1)
        {
            press(new KeyStroke(Key.Escape));
            return 1;
        }

        if (typed[1] is (byte)'[' or (byte)'O' && typed.Length > 2 && ReadSequence(typed, press) is > 0 and int length)
        {
            return length;
        }

        if (typed[1] == Escape)
        {
            press(new KeyStroke(Key.Escape));
            return 1;
        }

        if (typed[1] < 0x80 && KeyStroke.For((char)typed[1]) is { } stroke)
        {
            press(stroke with { Modifiers = stroke.Modifiers | KeyModifiers.Alt });
        }

        return 2;
    }

    /// <summary>CSI or SS3, parameters, and a final character. 0 if it is none.</summary>
    private static int ReadSequence(ReadOnlySpan<byte> typed, Action<KeyStroke> press)
    {
        int end = 2;
        if (typed[1] == '[' && typed[2] == '[')
        {
            // The Linux console's F1 to F5.
            if (typed.Length > 3 && typed[3] is >= (byte)'A' and <= (byte)'E')
            {
                press(new KeyStroke(Key.F1 + (byte)(typed[3] - 'A')));
                return 4;
            }

            return 0;
        }

        while (end < typed.Length && end < LongestSequence && typed[end] is >= 0x20 and < 0x40)
        {
            end++;
        }

        if (end >= typed.Length || end >= LongestSequence || typed[end] is < 0x40 or > 0x7E)
        {
            return 0;
        }

        (int number, int modifiers) = Parameters(typed[2..end]);
        Key key = typed[end] == '~' ? Numbered(number) : typed[end] == 'Z' ? Key.Tab : Lettered((char)typed[end]);
        if (key != Key.None)
        {
            press(new KeyStroke(key, typed[end] == 'Z' ? KeyModifiers.Shift : Understand(modifiers)));
        }

        return end + 1;
    }

    private static (int Number, int Modifiers) Parameters(ReadOnlySpan<byte> text)
    {
        int separator = text.IndexOf((byte)';');
        return separator < 0 ? (Number(text), 1) : (Number(text[..separator]), Number(text[(separator + 1)..]));
    }

    private static int Number(ReadOnlySpan<byte> text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) ? value : 1;

    /// <summary>xterm's parameter for modifiers: 1 and a bit for each.</summary>
    private static KeyModifiers Understand(int parameter)
    {
        int bits = parameter - 1;
        return ((bits & 1) != 0 ? KeyModifiers.Shift : 0) | ((bits & 2) != 0 ? KeyModifiers.Alt : 0) | ((bits & 4) != 0 ? KeyModifiers.Control : 0);
    }

    private static Key Lettered(char final) => final switch
    {
        'A' => Key.Up,
        'B' => Key.Down,
        'C' => Key.Right,
        'D' => Key.Left,
        'F' => Key.End,
        'H' => Key.Home,
        'M' => Key.KeypadEnter,
        'P' => Key.F1,
        'Q' => Key.F2,
        'R' => Key.F3,
        'S' => Key.F4,
        _ => Key.None,
    };

    private static Key Numbered(int number) => number switch
    {
        1 or 7 => Key.Home,
        2 => Key.Insert,
        3 => Key.Delete,
        4 or 8 => Key.End,
        5 => Key.PageUp,
        6 => Key.PageDown,
        >= 11 and <= 15 => Key.F1 + (byte)(number - 11),
        >= 17 and <= 21 => Key.F6 + (byte)(number - 17),
        23 => Key.F11,
        24 => Key.F12,
        _ => Key.None,
    };
}
