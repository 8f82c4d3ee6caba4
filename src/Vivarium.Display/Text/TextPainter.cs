using System.Globalization;
using System.Text;
using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>
/// Shows a text screen in a terminal (ECMA-48, xterm's alternate screen and bright colours, UTF-8), and writes only what has
/// changed. A terminal that is smaller shows the part with the cursor.
/// </summary>
public sealed class TextPainter
{
    /// <summary>Gives the terminal back as it was, from whatever state.</summary>
    public const string Leave = "\x1B[0m\x1B[?25h\x1B[?1049l";

    private const string Enter = "\x1B[?1049h\x1B[0m\x1B[2J\x1B[?25l";

    /// <summary>From the order of the CGA to that of ECMA-48: red and blue change places.</summary>
    private static ReadOnlySpan<byte> Colors => [0, 4, 2, 6, 1, 5, 3, 7];

    private readonly StringBuilder _text = new();
    private TextCell[] _shown = [];
    private (int Columns, int Rows, int Left, int Top) _view = (-1, -1, 0, 0);
    private (int Width, int Height) _graphics;
    private (int Column, int Row)? _cursor;
    private bool _begun;

    /// <summary>What to write to the terminal, so that it shows the frame; empty if it does already.</summary>
    /// <param name="frame">What is to be seen.</param>
    /// <param name="columns">Of the terminal.</param>
    /// <param name="rows">Of the terminal.</param>
    public string Paint(TextFrame frame, int columns, int rows)
    {
        _text.Clear();
        if (!_begun)
        {
            _begun = true;
            _text.Append(Enter);
        }

        if (frame.IsText)
        {
            PaintText(frame, Math.Max(1, columns), Math.Max(1, rows));
        }
        else
        {
            PaintNotice(frame.Graphics);
        }

        return _text.ToString();
    }

    /// <summary>The terminal does not show any more what was painted.</summary>
    public void Forget() => (_view, _cursor, _graphics, _begun) = ((-1, -1, 0, 0), null, default, false);

    private void PaintText(TextFrame frame, int columns, int rows)
    {
        // A part of the screen that has no room is left out at the right and at the bottom, unless the cursor is there.
        int left = frame.Cursor is { } place && place.Column >= columns ? Math.Min(place.Column - columns + 1, frame.Columns - columns) : 0;
        int top = frame.Cursor is { } line && line.Row >= rows ? Math.Min(line.Row - rows + 1, frame.Rows - rows) : 0;
        if (frame.Cursor is null && _view.Columns > 0)
        {
            // It has only gone out of sight.
            left = Math.Max(0, Math.Min(_view.Left, frame.Columns - columns));
            top = Math.Max(0, Math.Min(_view.Top, frame.Rows - rows));
        }

        columns = Math.Min(columns, frame.Columns);
        rows = Math.Min(rows, frame.Rows);
        (int, int, int, int) view = (columns, rows, left, top);
        bool all = view != _view;
        if (all)
        {
            _view = view;
            _shown = new TextCell[columns * rows];
            _cursor = null;
            _text.Append("\x1B[0m\x1B[2J");
        }

        bool hidden = false;
        for (int row = 0; row < rows; row++)
        {
            ReadOnlySpan<TextCell> wanted = frame.Row(row + top).Slice(left, columns);
            Span<TextCell> shown = _shown.AsSpan(row * columns, columns);
            PaintRow(wanted, shown, row, all, ref hidden);
        }

        PlaceCursor(frame.Cursor is { } cursor && cursor.Column - left < columns && cursor.Row - top < rows ? (cursor.Column - left, cursor.Row - top) : null, hidden);
    }

    private void PaintRow(ReadOnlySpan<TextCell> wanted, Span<TextCell> shown, int row, bool all, ref bool hidden)
    {
        int attribute = -1;
        int next = -1;
        for (int column = 0; column < wanted.Length; column++)
        {
            TextCell cell = wanted[column];
            if (!all && cell == shown[column])
            {
                continue;
            }

            shown[column] = cell;
            if (!hidden)
            {
                hidden = true;
                _text.Append("\x1B[?25l");
            }

            if (column != next)
            {
                Move(column, row);
            }

            if (Style(cell) != attribute)
            {
                attribute = Style(cell);
                SetStyle(cell);
            }

            _text.Append(cell.Character);
            next = column + 1;
        }
    }

    private void PlaceCursor((int Column, int Row)? cursor, bool moved)
    {
        if (cursor == _cursor && !moved)
        {
            return;
        }

        _cursor = cursor;
        if (cursor is { } place)
        {
            Move(place.Column, place.Row);
            _text.Append("\x1B[?25h");
        }
        else if (!moved)
        {
            _text.Append("\x1B[?25l");
        }
    }

    private void PaintNotice((int Width, int Height) size)
    {
        if (_view.Columns == 0 && _graphics == size)
        {
            return;
        }

        _view = default;
        _graphics = size;
        _cursor = null;
        _text.Append("\x1B[0m\x1B[2J\x1B[H\x1B[?25l");
        _text.Append(size.Width == 0
            ? "The guest shows nothing on its screen yet."
            : string.Create(CultureInfo.InvariantCulture, $"The guest is in a graphics mode ({size.Width} x {size.Height}); viv screenshot makes a picture, and --display vnc shows it."));
    }

    private static int Style(TextCell cell) => cell.Foreground | cell.Background << 4 | (cell.IsBlinking ? 0x100 : 0);

    private void SetStyle(TextCell cell)
    {
        int foreground = cell.Foreground, background = cell.Background;
        _text.Append(CultureInfo.InvariantCulture, $"\x1B[0;{(foreground >= 8 ? 90 : 30) + Colors[foreground & 7]};{(background >= 8 ? 100 : 40) + Colors[background & 7]}");
        _text.Append(cell.IsBlinking ? ";5m" : "m");
    }

    private void Move(int column, int row) => _text.Append(CultureInfo.InvariantCulture, $"\x1B[{row + 1};{column + 1}H");
}
