namespace Vivarium.Devices;

/// <summary>The characters on the screen while the card is in a text mode.</summary>
public sealed class TextFrame
{
    private TextCell[] _cells = [];

    /// <summary>Characters in a row; 0 while the card is in a graphics mode, or shows nothing.</summary>
    public int Columns { get; private set; }

    public int Rows { get; private set; }

    /// <summary>In a graphics mode: the size of the picture in pixels.</summary>
    public (int Width, int Height) Graphics { get; internal set; }

    public bool IsText => Columns != 0;

    /// <summary>Row by row from the top left.</summary>
    public ReadOnlySpan<TextCell> Cells => _cells.AsSpan(0, Columns * Rows);

    /// <summary>Where the cursor is; null where it does not show.</summary>
    public (int Column, int Row)? Cursor { get; internal set; }

    internal object? Source { get; set; }

    internal ScanStamp Stamp { get; set; }

    public ReadOnlySpan<TextCell> Row(int row) => _cells.AsSpan(row * Columns, Columns);

    internal Span<TextCell> Resize(int columns, int rows)
    {
        if (_cells.Length < columns * rows)
            _cells = new TextCell[columns * rows];
        (Columns, Rows) = (columns, rows);
        return _cells.AsSpan(0, columns * rows);
    }
}
