namespace Vivarium.Oracle;

/// <summary>The standard-format XSAVE area (SDM vol. 1, 13.4) as this host lays it out.</summary>
internal static class XsaveArea
{
    public const int Fcw = 0;
    public const int Fsw = 2;
    public const int Ftw = 4;
    public const int Fop = 6;
    public const int Fip = 8;
    public const int Fdp = 16;
    public const int Mxcsr = 24;
    public const int MxcsrMask = 28;
    public const int St0 = 32;
    public const int Xmm0 = 160;
    public const int LegacySize = 416;
    public const int XstateBv = 512;
    public const int Ymm0 = 576;

    public const ulong X87 = 1;
    public const ulong Sse = 2;
    public const ulong Avx = 4;

    /// <summary>The components that cases fill and compare.</summary>
    public static ulong Mask { get; } = HasAvx ? X87 | Sse | Avx : X87 | Sse;

    /// <summary>Bytes that <see cref="Mask"/> needs.</summary>
    public static int Size { get; } = HasAvx ? Ymm0 + 256 : Ymm0;

    /// <summary>MXCSR bits that may be set.</summary>
    public const uint MxcsrDefined = 0xFFFF;

    private static bool HasAvx => System.Runtime.Intrinsics.X86.Avx.IsSupported;
}
