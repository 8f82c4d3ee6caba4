namespace Vivarium.Display.Rfb;

/// <summary>What a client understands besides pictures.</summary>
[Flags]
internal enum PseudoEncodings
{
    None = 0,
    DesktopSize = 1 << 0,
    ExtendedDesktopSize = 1 << 1,
    Cursor = 1 << 2,
    ExtendedKey = 1 << 3,
    PointerMotion = 1 << 4,
    DesktopName = 1 << 5,
}
