namespace Vivarium.Devices;

/// <summary>
/// The scan codes of the keys in the three sets of the PS/2 keyboard (IBM PS/2 technical reference, keyboard), and the keyboard
/// controller's translation of set 2 to set 1.
/// </summary>
internal static class ScanCodes
{
    public const byte Extended = 0xE0;
    public const byte ExtendedPause = 0xE1;

    /// <summary>In sets 2 and 3: the key goes up.</summary>
    public const byte BreakPrefix = 0xF0;

    /// <summary>In set 1: the key goes up.</summary>
    public const byte BreakBit = 0x80;

    private const byte F7InSet2 = 0x83;
    private const byte SystemRequestInSet2 = 0x84;

    /// <summary>Set 1 of the codes 00 to 7F of set 2, also of those that no key has.</summary>
    private static readonly byte[] s_translation =
    [
        0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
        0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
        0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
        0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
        0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
        0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
        0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
        0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
    ];

    /// <summary>Set 2 of the codes 00 to 7F of set 1; 0 where there is none.</summary>
    private static readonly byte[] s_set2 = InvertTranslation();

    private static readonly Dictionary<Key, byte> s_set3 = new()
    {
        [Key.Escape] = 0x08,
        [Key.Digit1] = 0x16,
        [Key.Digit2] = 0x1E,
        [Key.Digit3] = 0x26,
        [Key.Digit4] = 0x25,
        [Key.Digit5] = 0x2E,
        [Key.Digit6] = 0x36,
        [Key.Digit7] = 0x3D,
        [Key.Digit8] = 0x3E,
        [Key.Digit9] = 0x46,
        [Key.Digit0] = 0x45,
        [Key.Minus] = 0x4E,
        [Key.Equal] = 0x55,
        [Key.Backspace] = 0x66,
        [Key.Tab] = 0x0D,
        [Key.Q] = 0x15,
        [Key.W] = 0x1D,
        [Key.E] = 0x24,
        [Key.R] = 0x2D,
        [Key.T] = 0x2C,
        [Key.Y] = 0x35,
        [Key.U] = 0x3C,
        [Key.I] = 0x43,
        [Key.O] = 0x44,
        [Key.P] = 0x4D,
        [Key.LeftBracket] = 0x54,
        [Key.RightBracket] = 0x5B,
        [Key.Enter] = 0x5A,
        [Key.LeftControl] = 0x11,
        [Key.A] = 0x1C,
        [Key.S] = 0x1B,
        [Key.D] = 0x23,
        [Key.F] = 0x2B,
        [Key.G] = 0x34,
        [Key.H] = 0x33,
        [Key.J] = 0x3B,
        [Key.K] = 0x42,
        [Key.L] = 0x4B,
        [Key.Semicolon] = 0x4C,
        [Key.Apostrophe] = 0x52,
        [Key.Grave] = 0x0E,
        [Key.LeftShift] = 0x12,
        [Key.Backslash] = 0x5C,
        [Key.Z] = 0x1A,
        [Key.X] = 0x22,
        [Key.C] = 0x21,
        [Key.V] = 0x2A,
        [Key.B] = 0x32,
        [Key.N] = 0x31,
        [Key.M] = 0x3A,
        [Key.Comma] = 0x41,
        [Key.Period] = 0x49,
        [Key.Slash] = 0x4A,
        [Key.RightShift] = 0x59,
        [Key.KeypadMultiply] = 0x7E,
        [Key.LeftAlt] = 0x19,
        [Key.Space] = 0x29,
        [Key.CapsLock] = 0x14,
        [Key.F1] = 0x07,
        [Key.F2] = 0x0F,
        [Key.F3] = 0x17,
        [Key.F4] = 0x1F,
        [Key.F5] = 0x27,
        [Key.F6] = 0x2F,
        [Key.F7] = 0x37,
        [Key.F8] = 0x3F,
        [Key.F9] = 0x47,
        [Key.F10] = 0x4F,
        [Key.NumLock] = 0x76,
        [Key.ScrollLock] = 0x5F,
        [Key.Keypad7] = 0x6C,
        [Key.Keypad8] = 0x75,
        [Key.Keypad9] = 0x7D,
        [Key.KeypadMinus] = 0x84,
        [Key.Keypad4] = 0x6B,
        [Key.Keypad5] = 0x73,
        [Key.Keypad6] = 0x74,
        [Key.KeypadPlus] = 0x7C,
        [Key.Keypad1] = 0x69,
        [Key.Keypad2] = 0x72,
        [Key.Keypad3] = 0x7A,
        [Key.Keypad0] = 0x70,
        [Key.KeypadPeriod] = 0x71,
        [Key.SystemRequest] = 0x57,
        [Key.NonUsBackslash] = 0x13,
        [Key.F11] = 0x56,
        [Key.F12] = 0x5E,
        [Key.KeypadEnter] = 0x79,
        [Key.RightControl] = 0x58,
        [Key.KeypadDivide] = 0x77,
        [Key.PrintScreen] = 0x57,
        [Key.RightAlt] = 0x39,
        [Key.Pause] = 0x62,
        [Key.Home] = 0x6E,
        [Key.Up] = 0x63,
        [Key.PageUp] = 0x6F,
        [Key.Left] = 0x61,
        [Key.Right] = 0x6A,
        [Key.End] = 0x65,
        [Key.Down] = 0x60,
        [Key.PageDown] = 0x6D,
        [Key.Insert] = 0x67,
        [Key.Delete] = 0x64,
        [Key.LeftMeta] = 0x8B,
        [Key.RightMeta] = 0x8C,
        [Key.Menu] = 0x8D,
    };

    /// <summary>Set 1 for a byte of set 2; the prefix of a key that goes up is not for this.</summary>
    public static byte Translate(byte value) => value switch
    {
        < 0x80 => s_translation[value],
        F7InSet2 => 0x41,
        SystemRequestInSet2 => 0x54,
        _ => value,
    };

    /// <summary>Set 3's code of a key; 0 if it has none.</summary>
    public static byte InSet3(Key key) => s_set3.GetValueOrDefault(key);

    /// <summary>Writes what a key sends when it goes down, or up, in a set; returns how many bytes. A key without a code sends none.</summary>
    /// <param name="set">1 to 3.</param>
    /// <param name="control">Control is down: Pause is Break then.</param>
    /// <param name="destination">Room for <see cref="LongestSequence"/>.</param>
    public static int Write(int set, Key key, bool down, bool control, Span<byte> destination)
    {
        var length = 0;
        if (set == 3)
        {
            if (InSet3(key) is var code and not 0)
                Put(destination, code, down, set, ref length);
            return length;
        }

        // Pause goes up as soon as it is down, and says nothing later.
        if (key == Key.Pause)
        {
            if (!down)
                return 0;
            foreach (var goesDown in (ReadOnlySpan<bool>)[true, false])
            {
                destination[length++] = control ? Extended : ExtendedPause;
                if (!control)
                    Put(destination, Base(set, (byte)Key.LeftControl), goesDown, set, ref length);
                Put(destination, Base(set, (byte)(control ? Key.ScrollLock : Key.NumLock)), goesDown, set, ref length);
            }

            return length;
        }

        // Print Screen brings a Shift of its own.
        if (key == Key.PrintScreen)
        {
            foreach (var part in (ReadOnlySpan<Key>)(down ? [Key.LeftShift, Key.KeypadMultiply] : [Key.KeypadMultiply, Key.LeftShift]))
            {
                destination[length++] = Extended;
                Put(destination, Base(set, (byte)part), down, set, ref length);
            }

            return length;
        }

        const byte extendedKey = 0x80;
        if (Base(set, (byte)((byte)key & ~extendedKey)) is var plain and not 0)
        {
            if (((byte)key & extendedKey) != 0)
                destination[length++] = Extended;
            Put(destination, plain, down, set, ref length);
        }

        return length;
    }

    /// <summary>Bytes of the longest sequence: Pause in set 2.</summary>
    public const int LongestSequence = 8;

    private static byte Base(int set, byte code) => set == 1 ? code : s_set2[code];

    private static void Put(Span<byte> destination, byte code, bool down, int set, ref int length)
    {
        if (!down && set != 1)
            destination[length++] = BreakPrefix;
        destination[length++] = down || set != 1 ? code : (byte)(code | BreakBit);
    }

    private static byte[] InvertTranslation()
    {
        var set2 = new byte[0x80];
        for (var code = 1; code < s_translation.Length; code++)
            set2[s_translation[code]] = (byte)code;
        set2[(byte)Key.F7] = F7InSet2;
        set2[(byte)Key.SystemRequest] = SystemRequestInSet2;
        return set2;
    }
}
