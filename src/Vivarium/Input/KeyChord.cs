using Vivarium.Devices;

namespace Vivarium.Input;

/// <summary>Keys that are held together, as in <c>ctrl-alt-f2</c>: pressed in order, let go in the reverse.</summary>
public sealed record KeyChord
{
    private const int MostKeys = 8;

    private static readonly Dictionary<string, Key> s_names = Names();

    private KeyChord(IReadOnlyList<Key> keys) => Keys = keys;

    public IReadOnlyList<Key> Keys { get; }

    /// <summary>Reads the names of keys with - or + between them; capitals or not.</summary>
    /// <exception cref="InvalidInputException">One is no key; the message says which.</exception>
    public static KeyChord Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);

        // The keys - and + stand for themselves where they are alone or last: ctrl--, ctrl-+.
        string last = text.Length != 0 && text[^1] is '-' or '+' ? text[^1..] : "";
        string rest = last.Length != 0 ? text[..^1].TrimEnd('-', '+') : text;
        List<Key> keys = [];
        foreach (string name in rest.Split(['-', '+'], StringSplitOptions.RemoveEmptyEntries).Append(last).Where(name => name.Length != 0))
        {
            keys.AddRange(Find(name, text));
        }

        return keys.Count is 0 or > MostKeys
            ? throw new InvalidInputException($"'{text}' names {(keys.Count == 0 ? "no key" : $"more than {MostKeys} keys")}; write for example ctrl-alt-f2, enter, or a")
            : new KeyChord(keys);
    }

    private static IEnumerable<Key> Find(string name, string text)
    {
        if (s_names.TryGetValue(name.ToLowerInvariant(), out Key key))
        {
            return [key];
        }

        if (name.Length == 1 && UsKeyboard.TryFind(name[0], out key, out bool shift) && !char.IsControl(name[0]))
        {
            return shift ? [Key.LeftShift, key] : [key];
        }

        throw new InvalidInputException($"there is no key '{name}'{(name == text ? "" : $" as in '{text}'")}; keys are a to z, 0 to 9, f1 to f12, {string.Join(", ", s_names.Keys.Where(known => known.Length > 3 && !known.StartsWith("kp", StringComparison.Ordinal)).Order())}, and kp0 to kp9 on the keypad");
    }

    private static Dictionary<string, Key> Names()
    {
        var names = new Dictionary<string, Key>
        {
            ["ctrl"] = Key.LeftControl,
            ["control"] = Key.LeftControl,
            ["rctrl"] = Key.RightControl,
            ["alt"] = Key.LeftAlt,
            ["altgr"] = Key.RightAlt,
            ["ralt"] = Key.RightAlt,
            ["shift"] = Key.LeftShift,
            ["rshift"] = Key.RightShift,
            ["meta"] = Key.LeftMeta,
            ["win"] = Key.LeftMeta,
            ["super"] = Key.LeftMeta,
            ["menu"] = Key.Menu,
            ["esc"] = Key.Escape,
            ["escape"] = Key.Escape,
            ["enter"] = Key.Enter,
            ["return"] = Key.Enter,
            ["ret"] = Key.Enter,
            ["tab"] = Key.Tab,
            ["space"] = Key.Space,
            ["backspace"] = Key.Backspace,
            ["bs"] = Key.Backspace,
            ["del"] = Key.Delete,
            ["delete"] = Key.Delete,
            ["ins"] = Key.Insert,
            ["insert"] = Key.Insert,
            ["home"] = Key.Home,
            ["end"] = Key.End,
            ["pageup"] = Key.PageUp,
            ["pgup"] = Key.PageUp,
            ["pagedown"] = Key.PageDown,
            ["pgdn"] = Key.PageDown,
            ["up"] = Key.Up,
            ["down"] = Key.Down,
            ["left"] = Key.Left,
            ["right"] = Key.Right,
            ["capslock"] = Key.CapsLock,
            ["numlock"] = Key.NumLock,
            ["scrolllock"] = Key.ScrollLock,
            ["print"] = Key.PrintScreen,
            ["sysrq"] = Key.SystemRequest,
            ["pause"] = Key.Pause,
            ["break"] = Key.Pause,
            ["minus"] = Key.Minus,
            ["plus"] = Key.KeypadPlus,
            ["kpenter"] = Key.KeypadEnter,
            ["kpplus"] = Key.KeypadPlus,
            ["kpminus"] = Key.KeypadMinus,
            ["kpmultiply"] = Key.KeypadMultiply,
            ["kpdivide"] = Key.KeypadDivide,
            ["kpperiod"] = Key.KeypadPeriod,
        };
        for (int i = 1; i <= 10; i++)
        {
            names[$"f{i}"] = Key.F1 + (byte)(i - 1);
        }

        names["f11"] = Key.F11;
        names["f12"] = Key.F12;
        Key[] keypad = [Key.Keypad0, Key.Keypad1, Key.Keypad2, Key.Keypad3, Key.Keypad4, Key.Keypad5, Key.Keypad6, Key.Keypad7, Key.Keypad8, Key.Keypad9];
        for (int i = 0; i < keypad.Length; i++)
        {
            names[$"kp{i}"] = keypad[i];
        }

        return names;
    }
}
