using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>One client's keys. What it holds when it goes is let go.</summary>
internal sealed class RfbKeyboard(IKeyboardSink? keyboard)
{
    private readonly bool[] _down = new bool[256];

    /// <summary>A key by what is on it: the client's layout need not be the guest's, so Shift may be missing, and is pressed along.</summary>
    public void Set(uint keysym, bool down)
    {
        if (Keysyms.Find(keysym) is not { } stroke)
        {
            return;
        }

        bool needsShift = down && (stroke.Modifiers & KeyModifiers.Shift) != 0 && !_down[(int)Key.LeftShift] && !_down[(int)Key.RightShift];
        if (needsShift)
        {
            Set(Key.LeftShift, true);
        }

        Set(stroke.Key, down);
        if (needsShift)
        {
            Set(Key.LeftShift, false);
        }
    }

    /// <summary>A key by its place (QEMU extended key event): scan code set 1, bit 7 for E0. Where the client does not know it, by what is on it.</summary>
    public void Set(uint keysym, uint scancode, bool down)
    {
        // Some clients send the prefix as it is.
        uint code = scancode >> 8 == 0xE0 ? scancode & 0x7F | 0x80 : scancode;
        if (code is > 0 and <= byte.MaxValue)
        {
            Set((Key)code, down);
        }
        else
        {
            Set(keysym, down);
        }
    }

    public void ReleaseAll()
    {
        for (int key = 0; key < _down.Length; key++)
        {
            if (_down[key])
            {
                Set((Key)key, false);
            }
        }
    }

    private void Set(Key key, bool down)
    {
        _down[(int)key] = down;
        keyboard?.SetKey(key, down);
    }
}
