using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>One client's pointer, for a guest that takes places or one that takes motions.</summary>
internal sealed class RfbPointer(IPointerSink? pointer)
{
    private const int LeftBit = 1, MiddleBit = 2, RightBit = 4, WheelUpBit = 8, WheelDownBit = 16;

    /// <summary>With QEMU's pointer motion change, a client that sends motions adds this to them.</summary>
    private const int MotionZero = 0x7FFF;

    private const int MostPlace = ushort.MaxValue;

    private int _mask;
    private (int X, int Y)? _last;

    public bool IsAbsolute => pointer is null or { IsAbsolute: true };

    /// <param name="mask">The client's buttons; the wheel is among them.</param>
    /// <param name="x">In pixels, or the motion.</param>
    /// <param name="y">In pixels, or the motion.</param>
    /// <param name="width">Of the screen.</param>
    /// <param name="height">Of the screen.</param>
    /// <param name="sendsMotions">The client was told that the guest takes motions, and has understood.</param>
    public void Move(int mask, int x, int y, int width, int height, bool sendsMotions)
    {
        int pressed = mask & ~_mask;
        int wheel = ((pressed & WheelDownBit) != 0 ? 1 : 0) - ((pressed & WheelUpBit) != 0 ? 1 : 0);
        _mask = mask;
        PointerButtons buttons = ((mask & LeftBit) != 0 ? PointerButtons.Left : 0)
            | ((mask & MiddleBit) != 0 ? PointerButtons.Middle : 0) | ((mask & RightBit) != 0 ? PointerButtons.Right : 0);
        if (pointer is null)
        {
            return;
        }

        if (pointer.IsAbsolute)
        {
            pointer.MoveTo(Scale(x, width), Scale(y, height), wheel, buttons);
            return;
        }

        (int X, int Y) last = _last ?? (x, y);
        _last = (x, y);
        if (sendsMotions)
        {
            pointer.Move(x - MotionZero, y - MotionZero, wheel, buttons);
        }
        else
        {
            pointer.Move(x - last.X, y - last.Y, wheel, buttons);
        }
    }

    public void ReleaseAll()
    {
        if (_mask != 0)
        {
            _mask = 0;
            pointer?.Move(0, 0, 0, PointerButtons.None);
        }
    }

    private static ushort Scale(int place, int size) => size <= 1 ? (ushort)0 : (ushort)(Math.Clamp(place, 0, size - 1) * MostPlace / (size - 1));
}
