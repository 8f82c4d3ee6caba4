using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>Where the characters of a text mode stand.</summary>
internal readonly struct TextLayout
{
    private const int CursorOff = 1 << 5;
    private const int ScanLineMask = 0x1F;

    private readonly int _start;
    private readonly int _rowOffset;

    public TextLayout(VgaRegisters registers)
    {
        _start = registers.StartAddress;
        _rowOffset = registers.RowOffset;
        Columns = registers.DisplayedCharacters;
        Rows = Math.Max(1, registers.DisplayedLines / (registers.CharacterLines * (registers.IsDoubleScanned ? 2 : 1)));
        int first = registers.Crtc[CursorStart], last = registers.Crtc[CursorEnd] & ScanLineMask;
        var place = registers.CursorAddress - _start;
        if ((first & CursorOff) == 0 && (first & ScanLineMask) <= last && _rowOffset != 0 && place >= 0 && place / _rowOffset < Rows && place % _rowOffset < Columns)
            Cursor = (place % _rowOffset, place / _rowOffset);
    }

    public int Columns { get; }

    public int Rows { get; }

    public (int Column, int Row)? Cursor { get; }

    /// <summary>The same but for what is moved by the start address, and the cursor.</summary>
    public bool HasShapeOf(TextLayout other) => Columns == other.Columns && Rows == other.Rows && _rowOffset == other._rowOffset;

    /// <summary>Of the first character, in addresses of the CRT controller.</summary>
    public int Start => _start;

    public int Address(int column, int row) => (_start + row * _rowOffset + column) & (VgaMemory.PlaneSize - 1);
}
