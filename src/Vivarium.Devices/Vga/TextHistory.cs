namespace Vivarium.Devices;

/// <summary>
/// Remembers the lines that leave a text screen. A guest moves its text by copying it, by moving the start address, or not at
/// all: so when it begins to write into the top row, or moves the start, the screen is looked at, and what it was then is compared with
/// what it is when that happens again. Rows that have moved up tell which have left; a screen on which nothing has stayed has
/// left as a whole.
/// </summary>
internal sealed unsafe class TextHistory(VgaRegisters registers, VgaMemory memory)
{
    private const int MostLines = 4096;

    /// <summary>A screen of which no more than one row in so many has stayed where it was is another screen.</summary>
    private const int SameRowsShare = 4;

    private readonly byte[]?[] _lines = new byte[MostLines][];
    private byte[] _before = [];
    private byte[] _now = [];
    private TextLayout _layout = new(registers);
    private bool _isText;

    /// <summary>The registers describe another mode than the one that was last written in; they may not be complete yet.</summary>
    private bool _unsettled;

    /// <summary>The top row, in offsets from the window's beginning.</summary>
    private int _top, _topLength;

    /// <summary>What is in <see cref="_before"/> is to be compared some time.</summary>
    private bool _pending;

    /// <summary>Something below the top row was written since it was begun.</summary>
    private bool _touchedBelow = true;
    private bool _pannedHigh, _pannedLow;

    /// <summary>How many lines have left the screen.</summary>
    public long Count { get; private set; }

    private bool ShowsText => !registers.IsGraphics && !registers.IsDispiEnabled;

    /// <summary>The registers have changed.</summary>
    public void Update()
    {
        var layout = new TextLayout(registers);
        var isSame = ShowsText == _isText && (!_isText || layout.HasShapeOf(_layout));
        if (!isSame && !_unsettled)
        {
            // What is on the screen is still in its place.
            Compare();
            Capture();
        }

        _unsettled = !isSame;
        if (isSame && _isText)
        {
            _layout = layout;
            _top = layout.Start * 2;
        }
    }

    /// <summary>A byte in the window is about to be written.</summary>
    public void Writing(int offset)
    {
        if (_unsettled)
            Settle();
        if ((uint)(offset - _top) >= (uint)_topLength)
        {
            _touchedBelow = true;
        }
        else if (_touchedBelow)
        {
            Compare();
            Capture();
            _touchedBelow = false;
        }
    }

    /// <summary>One half of the start address is about to be written.</summary>
    public void Panning(bool high)
    {
        if (!_isText || _unsettled)
            return;
        ref var panned = ref high ? ref _pannedHigh : ref _pannedLow;
        if (panned || !(_pannedHigh || _pannedLow))
        {
            Compare();
            Capture();
            (_pannedHigh, _pannedLow) = (false, false);
        }

        panned = true;
    }

    public ScreenText Read()
    {
        if (_unsettled)
            Settle();
        Compare();
        var kept = (int)Math.Min(Count, MostLines);
        var scrolled = new string[kept];
        for (var i = 0; i < kept; i++)
            scrolled[i] = CodePage437.ToText(_lines[(Count - kept + i) % MostLines]);
        if (!_isText)
            return new ScreenText(scrolled, Count, []);
        Look(_now);
        var visible = new string[_layout.Rows];
        for (var row = 0; row < visible.Length; row++)
            visible[row] = CodePage437.ToText(Row(_now, row));
        return new ScreenText(scrolled, Count, visible);
    }

    private void Capture()
    {
        if (!_isText)
            return;
        Look(_before);
        _pending = true;
    }

    /// <summary>The new mode is complete: what was visible has left with the old one.</summary>
    private void Settle()
    {
        if (_pending)
            RememberAll();
        _unsettled = false;
        _pending = false;
        _touchedBelow = true;
        _isText = ShowsText;
        _layout = new TextLayout(registers);
        _top = _layout.Start * 2;
        _topLength = _isText ? _layout.Columns * 2 : 0;
        var cells = _isText ? _layout.Columns * _layout.Rows : 0;
        if (_before.Length < cells)
            (_before, _now) = (new byte[cells], new byte[cells]);
    }

    /// <summary>Finds out what has become of the screen that was captured.</summary>
    private void Compare()
    {
        if (!_pending)
            return;
        _pending = false;
        Look(_now);
        if (Row(_before, 0).SequenceEqual(Row(_now, 0)))
            return;
        for (var shift = 1; shift < _layout.Rows; shift++)
        {
            if (HasMovedUp(shift))
            {
                for (var row = 0; row < shift; row++)
                    Remember(Row(_before, row));
                return;
            }
        }

        int same = 0, written = 0;
        for (var row = 0; row < _layout.Rows; row++)
        {
            if (IsBlank(Row(_before, row)))
                continue;
            written++;
            if (Row(_before, row).SequenceEqual(Row(_now, row)))
                same++;
        }

        if (same * SameRowsShare <= written)
            RememberAll();
    }

    /// <summary>Most of what was from this row on now stands at the top; at the bottom there may be something new, or a line that stays.</summary>
    private bool HasMovedUp(int shift)
    {
        var rows = _layout.Rows - shift;
        var moved = 0;
        while (moved < rows && Row(_before, moved + shift).SequenceEqual(Row(_now, moved)))
            moved++;
        return moved > 0 && moved >= rows - rows / SameRowsShare;
    }

    private void RememberAll()
    {
        var last = _layout.Rows - 1;
        while (last >= 0 && IsBlank(Row(_before, last)))
            last--;
        for (var row = 0; row <= last; row++)
            Remember(Row(_before, row));
    }

    private void Remember(ReadOnlySpan<byte> row)
    {
        ref var line = ref _lines[Count++ % MostLines];
        if (line is null || line.Length != row.Length)
            line = new byte[row.Length];
        row.CopyTo(line);
    }

    private Span<byte> Row(byte[] screen, int row) => screen.AsSpan(row * _layout.Columns, _layout.Columns);

    private static bool IsBlank(ReadOnlySpan<byte> row) => !row.ContainsAnyExcept((byte)0, (byte)' ');

    /// <summary>Copies the characters that the start address shows.</summary>
    private void Look(byte[] screen)
    {
        var words = (uint*)memory.Bytes;
        for (var row = 0; row < _layout.Rows; row++)
        {
            var line = Row(screen, row);
            for (var column = 0; column < line.Length; column++)
                line[column] = (byte)words[_layout.Address(column, row)];
        }
    }
}
