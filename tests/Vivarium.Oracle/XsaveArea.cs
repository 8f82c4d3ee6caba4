using System.Runtime.Intrinsics.X86;

namespace Vivarium.Oracle;

/// <summary>The standard-format XSAVE area (SDM vol. 1, 13.4) as this host lays it out.</summary>
internal static unsafe class XsaveArea
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
    public const int HeaderEnd = 576;

    private const int AvxNumber = 2;
    private const int OpmaskNumber = 5;
    private const int ZmmHi256Number = 6;
    private const int Hi16ZmmNumber = 7;
    private const int LegacyVectors = 16;

    public const ulong X87 = 1;
    public const ulong Sse = 2;
    public const ulong Avx = 1ul << AvxNumber;
    public const ulong Opmask = 1ul << OpmaskNumber;
    public const ulong ZmmHi256 = 1ul << ZmmHi256Number;
    public const ulong Hi16Zmm = 1ul << Hi16ZmmNumber;
    public const ulong Avx512 = Opmask | ZmmHi256 | Hi16Zmm;

    /// <summary>The components that cases fill and compare.</summary>
    public static ulong Mask { get; } = X87 | Sse | (System.Runtime.Intrinsics.X86.Avx.IsSupported ? Avx : 0) | (Avx512F.IsSupported ? Avx512 : 0);

    // Where the components behind the header stand is the processor's choice (SDM vol. 1, 13.5.2); 0 where the host has none.
    public static int YmmHi128Offset { get; } = Offset(AvxNumber);

    public static int OpmaskOffset { get; } = Offset(OpmaskNumber);

    public static int ZmmHi256Offset { get; } = Offset(ZmmHi256Number);

    public static int Hi16ZmmOffset { get; } = Offset(Hi16ZmmNumber);

    /// <summary>Those of <see cref="Mask"/> behind the header.</summary>
    public static (ulong Component, int Offset, int Size)[] Extended { get; } =
    [
        .. new[] { (Avx, YmmHi128Offset, 256), (Opmask, OpmaskOffset, 64), (ZmmHi256, ZmmHi256Offset, 512), (Hi16Zmm, Hi16ZmmOffset, 1024) }
            .Where(component => (Mask & component.Item1) != 0),
    ];

    /// <summary>Bytes that <see cref="Mask"/> needs.</summary>
    public static int Size { get; } = Extended.Max(component => (int?)(component.Offset + component.Size)) ?? HeaderEnd;

    /// <summary>MXCSR bits that may be set.</summary>
    public const uint MxcsrDefined = 0xFFFF;

    public static ulong* Mask64(byte* area, int register) => (ulong*)(area + OpmaskOffset) + register;

    /// <summary>A byte of a vector register.</summary>
    public static byte* Vector(byte* area, int register, int offset)
        => register >= LegacyVectors ? area + Hi16ZmmOffset + ((register - LegacyVectors) * 64) + offset
            : offset < 16 ? area + Xmm0 + (register * 16) + offset
            : offset < 32 ? area + YmmHi128Offset + (register * 16) + offset - 16
            : area + ZmmHi256Offset + (register * 32) + offset - 32;

    private static int Offset(int component) => (Mask & (1ul << component)) == 0 ? 0 : X86Base.CpuId(0xD, component).Ebx;
}
