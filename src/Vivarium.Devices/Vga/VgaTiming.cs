using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>Where the beam is, from the CRT controller's registers and the machine's clock.</summary>
internal sealed class VgaTiming(VgaRegisters registers)
{
    /// <summary>The blinking of the cursor is the frame count's bit 4, that of characters its bit 5.</summary>
    public const int CursorBlinkShift = 4;

    private const long PicosecondsPerNanosecond = 1000;

    // Of a 25.175 MHz and a 28.322 MHz dot clock.
    private const long SlowDot = 39_722;
    private const long FastDot = 35_308;

    // Input status 1.
    private const byte DisplayDisabled = 1 << 0;
    private const byte VerticalRetrace = 1 << 3;

    // Retrace takes two lines, as in all modes of the BIOS.
    private const int RetraceLines = 2;

    // What no monitor shows is timed as mode 3 is.
    private const int LeastLines = 100;
    private const int StandardLines = 449, StandardShown = 400, StandardRetrace = 412;
    private const long StandardLine = 31_778;

    private long _line = StandardLine;
    private long _shown = StandardLine;
    private int _lines = StandardLines;
    private int _shownLines = StandardShown;
    private int _retrace = StandardRetrace;

    /// <summary>Nanoseconds from one picture to the next.</summary>
    public long Frame => _line * _lines;

    /// <summary>Takes over what the registers say.</summary>
    public void Update()
    {
        int characters = registers.Crtc[HorizontalTotal] + 5;
        long dot = (registers.Misc & 0x0C) == 0 ? SlowDot : FastDot;
        long character = dot * registers.CharacterDots * (registers.IsDotClockHalved ? 2 : 1);
        _line = characters * character / PicosecondsPerNanosecond;
        _lines = registers.TotalLines;
        _shownLines = registers.DisplayedLines;
        _retrace = registers.RetraceStartLine;
        _shown = Math.Min(registers.DisplayedCharacters, characters) * character / PicosecondsPerNanosecond;
        if (_lines < LeastLines || _retrace + RetraceLines > _lines || _shownLines > _lines || registers.DisplayedCharacters > characters)
            (_line, _shown, _lines, _shownLines, _retrace) = (StandardLine, StandardLine, StandardLines, StandardShown, StandardRetrace);
    }

    public byte InputStatus1(long nanoseconds)
    {
        long inFrame = nanoseconds % Frame;
        long line = inFrame / _line;
        byte status = 0;
        if (line >= _shownLines || inFrame % _line >= _shown)
            status |= DisplayDisabled;
        if (line >= _retrace && line < _retrace + RetraceLines)
            status |= VerticalRetrace;
        return status;
    }

    /// <summary>Counts blinks: bit 0 is set while the cursor is off, bit 1 while blinking characters are.</summary>
    public int BlinkPhase(long nanoseconds) => (int)(nanoseconds / Frame >> CursorBlinkShift);
}
