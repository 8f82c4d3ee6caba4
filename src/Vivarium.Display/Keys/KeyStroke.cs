using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>A key that is pressed and let go, with others held down around it.</summary>
public readonly record struct KeyStroke(Key Key, KeyModifiers Modifiers = KeyModifiers.None)
{
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
