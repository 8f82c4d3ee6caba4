namespace Vivarium.Devices;

/// <summary>A motion of a mouse: counts to the right and down, notches towards the user, and the buttons that are down at its end.</summary>
public readonly record struct Ps2Motion(int X, int Y, int Wheel, PointerButtons Buttons)
{
    /// <summary>More than this piles up only where nobody looks, or is nonsense.</summary>
    private const int Most = 1 << 16;

    internal bool IsMotion => X != 0 || Y != 0 || Wheel != 0;

    internal Ps2Motion Plus(int x, int y, int wheel) => this with { X = Add(X, x), Y = Add(Y, y), Wheel = Add(Wheel, wheel) };

    private static int Add(int sum, int more) => (int)Math.Clamp((long)sum + more, -Most, Most);
}
