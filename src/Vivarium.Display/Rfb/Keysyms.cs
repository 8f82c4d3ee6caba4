using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>The X Window System's key symbols (keysymdef.h), as keys of a PC with the US layout.</summary>
internal static class Keysyms
{
    public const uint ShiftLeft = 0xFFE1, ShiftRight = 0xFFE2;

    private const uint FirstFunctionKey = 0xFFBE, LastOfTen = 0xFFC7;
    private const uint FirstKeypadDigit = 0xFFB0, LastKeypadDigit = 0xFFB9;
    private const uint LastLatin1 = 0xFF;

    private static ReadOnlySpan<byte> KeypadDigits =>
    [
        (byte)Key.Keypad0, (byte)Key.Keypad1, (byte)Key.Keypad2, (byte)Key.Keypad3, (byte)Key.Keypad4,
        (byte)Key.Keypad5, (byte)Key.Keypad6, (byte)Key.Keypad7, (byte)Key.Keypad8, (byte)Key.Keypad9,
    ];

    /// <summary>The key, and whether Shift belongs to the symbol; null for what has no key.</summary>
    public static KeyStroke? Find(uint keysym) => keysym switch
    {
        >= ' ' and <= LastLatin1 => KeyStroke.For((char)keysym),
        >= FirstFunctionKey and <= LastOfTen => new KeyStroke(Key.F1 + (byte)(keysym - FirstFunctionKey)),
        >= FirstKeypadDigit and <= LastKeypadDigit => new KeyStroke((Key)KeypadDigits[(int)(keysym - FirstKeypadDigit)]),
        _ => Named(keysym) is var key && key != Key.None ? new KeyStroke(key) : null,
    };

    private static Key Named(uint keysym) => keysym switch
    {
        0xFF08 => Key.Backspace,
        0xFF09 or 0xFE20 => Key.Tab,
        0xFF0A or 0xFF0D => Key.Enter,
        0xFF13 or 0xFF6B => Key.Pause,
        0xFF14 => Key.ScrollLock,
        0xFF15 => Key.SystemRequest,
        0xFF1B => Key.Escape,
        0xFF50 => Key.Home,
        0xFF51 => Key.Left,
        0xFF52 => Key.Up,
        0xFF53 => Key.Right,
        0xFF54 => Key.Down,
        0xFF55 => Key.PageUp,
        0xFF56 => Key.PageDown,
        0xFF57 => Key.End,
        0xFF61 => Key.PrintScreen,
        0xFF63 => Key.Insert,
        0xFF67 => Key.Menu,
        0xFF7F => Key.NumLock,
        0xFF8D => Key.KeypadEnter,
        0xFF95 => Key.Keypad7,
        0xFF96 => Key.Keypad4,
        0xFF97 => Key.Keypad8,
        0xFF98 => Key.Keypad6,
        0xFF99 => Key.Keypad2,
        0xFF9A => Key.Keypad9,
        0xFF9B => Key.Keypad3,
        0xFF9C => Key.Keypad1,
        0xFF9D => Key.Keypad5,
        0xFF9E => Key.Keypad0,
        0xFF9F => Key.KeypadPeriod,
        0xFFAA => Key.KeypadMultiply,
        0xFFAB => Key.KeypadPlus,
        0xFFAD => Key.KeypadMinus,
        0xFFAE => Key.KeypadPeriod,
        0xFFAF => Key.KeypadDivide,
        0xFFC8 => Key.F11,
        0xFFC9 => Key.F12,
        ShiftLeft => Key.LeftShift,
        ShiftRight => Key.RightShift,
        0xFFE3 => Key.LeftControl,
        0xFFE4 => Key.RightControl,
        0xFFE5 => Key.CapsLock,
        0xFFE7 or 0xFFE9 => Key.LeftAlt,
        0xFE03 or 0xFFE8 or 0xFFEA => Key.RightAlt,
        0xFFEB => Key.LeftMeta,
        0xFFEC => Key.RightMeta,
        0xFFFF => Key.Delete,
        _ => Key.None,
    };
}
