namespace Vivarium.Engine.Software.Privileged;

/// <summary>Places in the FXSAVE and XSAVE areas (SDM vol. 1, 10.5.1 and 13.4).</summary>
internal static class ExtendedArea
{
    public const int LegacySize = 512;
    public const int HeaderSize = 64;
    public const int ControlWord = 0;

    /// <summary>FCW, FSW, FTW, FOP.</summary>
    public const int ControlSize = 8;

    /// <summary>FIP, FCS, FDP, FDS.</summary>
    public const int Pointers = 8;
    public const int PointersSize = 16;
    public const int Mxcsr = 24;
    public const int MxcsrMask = 28;
    public const int StackRegisters = 32;
    public const int StackRegistersSize = 128;
    public const int Xmm = 160;
    public const int XmmSize = 256;

    public const int StateBitmap = 512;
    public const int CompactionBitmap = 520;

    public const ulong Compacted = 1ul << 63;
    public const ushort InitialControlWord = 0x37F;
    public const uint InitialMxcsr = 0x1F80;

    public const int X87 = 0, Sse = 1, Avx = 2, Opmask = 5, ZmmHi256 = 6, Hi16Zmm = 7;

    /// <summary>
    /// How many bytes of a component instructions outside 64-bit mode touch: the registers that exist there, numbers 0 to 7
    /// (SDM vol. 1, 13.5).
    /// </summary>
    public static int AccessibleSize(int component, int size, bool code64) => component switch
    {
        Opmask => size,
        Hi16Zmm => code64 ? size : 0,
        _ => code64 ? size : size / 2,
    };
}
