namespace Vivarium.Devices;

/// <summary>
/// The registers of a VGA (IBM VGA technical reference) and of the Bochs display interface beside them, with what they say.
/// Plain data: a copy of it is all that a picture needs besides the memory.
/// </summary>
internal sealed class VgaRegisters
{
    public const int SequencerCount = 5;
    public const int CrtcCount = 0x19;
    public const int GraphicsCount = 9;
    public const int AttributeCount = 0x15;
    public const int PaletteSize = 256 * 3;

    // Sequencer.
    public const int ClockingMode = 1;
    public const int MapMask = 2;
    public const int CharacterMapSelect = 3;
    public const int MemoryMode = 4;

    // CRT controller.
    public const int HorizontalTotal = 0x00;
    public const int HorizontalDisplayEnd = 0x01;
    public const int VerticalTotal = 0x06;
    public const int Overflow = 0x07;
    public const int PresetRowScan = 0x08;
    public const int MaximumScanLine = 0x09;
    public const int CursorStart = 0x0A;
    public const int CursorEnd = 0x0B;
    public const int StartAddressHigh = 0x0C;
    public const int StartAddressLow = 0x0D;
    public const int CursorLocationHigh = 0x0E;
    public const int CursorLocationLow = 0x0F;
    public const int VerticalRetraceStart = 0x10;
    public const int VerticalRetraceEnd = 0x11;
    public const int VerticalDisplayEnd = 0x12;
    public const int Offset = 0x13;
    public const int ModeControl = 0x17;
    public const int LineCompareRegister = 0x18;

    // Graphics controller.
    public const int SetReset = 0;
    public const int EnableSetReset = 1;
    public const int ColorCompare = 2;
    public const int DataRotate = 3;
    public const int ReadMapSelect = 4;
    public const int GraphicsMode = 5;
    public const int Miscellaneous = 6;
    public const int ColorDontCare = 7;
    public const int BitMask = 8;

    // Attribute controller.
    public const int AttributeMode = 0x10;
    public const int ColorPlaneEnable = 0x12;
    public const int PixelPanning = 0x13;
    public const int ColorSelect = 0x14;

    // Miscellaneous output.
    public const byte ColorAddresses = 1 << 0;
    public const byte EnableRam = 1 << 1;

    private const byte Chain4 = 1 << 3;
    private const byte OddEvenDisable = 1 << 2;
    private const byte EightDots = 1 << 0;
    private const byte HalfDotClock = 1 << 3;
    private const byte ScreenOff = 1 << 5;
    private const byte AttributeGraphics = 1 << 0;

    public byte[] Sequencer { get; } = new byte[SequencerCount];

    public byte[] Crtc { get; } = new byte[CrtcCount];

    public byte[] Graphics { get; } = new byte[GraphicsCount];

    public byte[] Attribute { get; } = new byte[AttributeCount];

    /// <summary>Red, green and blue of 256 colours, as they were written: six bits each, or eight.</summary>
    public byte[] Palette { get; } = new byte[PaletteSize];

    public ushort[] Dispi { get; } = new ushort[DispiRegister.Count];

    public byte Misc { get; set; }

    public byte PelMask { get; set; } = 0xFF;

    /// <summary>The attribute controller shows its palette (bit 5 of its index); otherwise the screen is dark while the palette can be written.</summary>
    public bool PaletteShown { get; set; }

    public bool IsDispiEnabled => (Dispi[DispiRegister.Enable] & DispiRegister.Enabled) != 0;

    /// <summary>A mode of the display interface with more than 4 bits for a pixel: memory is one array of pixels.</summary>
    public bool IsLinear => IsDispiEnabled && Dispi[DispiRegister.BitsPerPixel] > 4;

    public bool IsChain4 => (Sequencer[MemoryMode] & Chain4) != 0;

    /// <summary>Odd addresses write to odd planes.</summary>
    public bool WritesOddEven => (Sequencer[MemoryMode] & OddEvenDisable) == 0;

    /// <summary>Odd addresses read odd planes.</summary>
    public bool ReadsOddEven => (Graphics[GraphicsMode] & 0x10) != 0;

    public bool IsGraphics => (Graphics[Miscellaneous] & 1) != 0 || (Attribute[AttributeMode] & AttributeGraphics) != 0;

    /// <summary>Dots in a character's row: 8 or 9.</summary>
    public int CharacterDots => (Sequencer[ClockingMode] & EightDots) != 0 ? 8 : 9;

    /// <summary>Each dot is shown twice, for modes of 320 dots and 40 columns.</summary>
    public bool IsDotClockHalved => (Sequencer[ClockingMode] & HalfDotClock) != 0;

    public bool IsDark => (Sequencer[ClockingMode] & ScreenOff) != 0 || !PaletteShown;

    /// <summary>Characters in a scan line.</summary>
    public int DisplayedCharacters => Crtc[HorizontalDisplayEnd] + 1;

    /// <summary>Scan lines shown.</summary>
    public int DisplayedLines => (Crtc[VerticalDisplayEnd] | (Crtc[Overflow] & 0x02) << 7 | (Crtc[Overflow] & 0x40) << 3) + 1;

    public int TotalLines => (Crtc[VerticalTotal] | (Crtc[Overflow] & 0x01) << 8 | (Crtc[Overflow] & 0x20) << 4) + 2;

    public int RetraceStartLine => Crtc[VerticalRetraceStart] | (Crtc[Overflow] & 0x04) << 6 | (Crtc[Overflow] & 0x80) << 2;

    /// <summary>After this scan line the picture goes on from address 0.</summary>
    public int LineCompare => Crtc[LineCompareRegister] | (Crtc[Overflow] & 0x10) << 4 | (Crtc[MaximumScanLine] & 0x40) << 3;

    /// <summary>Scan lines of a character, or how often a row of pixels is shown.</summary>
    public int CharacterLines => (Crtc[MaximumScanLine] & 0x1F) + 1;

    public bool IsDoubleScanned => (Crtc[MaximumScanLine] & 0x80) != 0;

    public int StartAddress => Crtc[StartAddressHigh] << 8 | Crtc[StartAddressLow];

    public int CursorAddress => Crtc[CursorLocationHigh] << 8 | Crtc[CursorLocationLow];

    /// <summary>From one row to the next, in addresses of the CRT controller.</summary>
    public int RowOffset => Crtc[Offset] * 2;

    public void CopyTo(VgaRegisters other)
    {
        Sequencer.CopyTo(other.Sequencer.AsSpan());
        Crtc.CopyTo(other.Crtc.AsSpan());
        Graphics.CopyTo(other.Graphics.AsSpan());
        Attribute.CopyTo(other.Attribute.AsSpan());
        Palette.CopyTo(other.Palette.AsSpan());
        Dispi.CopyTo(other.Dispi.AsSpan());
        other.Misc = Misc;
        other.PelMask = PelMask;
        other.PaletteShown = PaletteShown;
    }
}
