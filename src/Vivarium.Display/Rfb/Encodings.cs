namespace Vivarium.Display.Rfb;

/// <summary>Encodings and pseudo-encodings (RFC 6143, 7.7 and 7.8, and the registered ones of the community's rfbproto.rst).</summary>
internal static class Encodings
{
    public const int Raw = 0;
    public const int Zlib = 6;
    public const int Tight = 7;
    public const int Zrle = 16;
    public const int DesktopSize = -223;
    public const int Cursor = -239;
    public const int QemuPointerMotion = -257;
    public const int QemuExtendedKey = -258;
    public const int DesktopName = -307;
    public const int ExtendedDesktopSize = -308;
}
