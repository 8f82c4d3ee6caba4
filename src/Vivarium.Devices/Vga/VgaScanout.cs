using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>Makes pictures from a copy of the registers and the display memory, row by row.</summary>
internal sealed unsafe class VgaScanout
{
    // What a monitor shows of registers that nobody has set: nothing, in the size of mode 3.
    private const int LeastCharacters = 8, LeastLines = 64;
    private const int EmptyWidth = 720, EmptyHeight = 400;

    /// <summary>Rows are made with room to shift them left.</summary>
    private const int Margin = 16;

    private readonly VgaRegisters _registers = new();
    private readonly VgaColors _colors;
    private readonly VgaRow _row;
    private readonly byte* _bytes;
    private readonly int _size;
    private readonly uint[] _line = new uint[Margin + Frame.MostWidth + 2 * Margin];
    private readonly bool[] _dirty;
    private readonly bool[] _dirtyBefore;
    private readonly long[] _written;

    public VgaScanout(byte* memory, int size)
    {
        _bytes = memory;
        _size = size;
        _colors = new VgaColors(_registers);
        _row = new VgaRow(_registers, _colors, memory, size);
        var pages = size >> GuestMemory.PageShift;
        _dirty = new bool[pages];
        _dirtyBefore = new bool[pages];
        _written = new long[pages];
    }

    /// <summary>Counts the times at which memory was found written that the card does not see written.</summary>
    public long Writes { get; private set; }

    public static int BytesPerPixel(int bits) => (bits + 7) / 8;

    /// <summary>Asks which pages of what is shown were written.</summary>
    public void NoteWrites(GuestMemory memory, MemoryRegion region, VgaRegisters registers)
    {
        var (start, length) = registers.IsDispiEnabled ? Shown(registers) : (0, VgaMemory.PlaneSize * 4);
        var first = start >> GuestMemory.PageShift;
        var count = Math.Min(_size, start + length + (int)GuestMemory.PageMask) - 1 >> GuestMemory.PageShift;
        count = Math.Max(1, count + 1 - first);
        var now = _dirty.AsSpan(first, count);
        var before = _dirtyBefore.AsSpan(first, count);

        // A page found dirty may be written once more without a word: it counts as written at the next look too.
        if (!memory.TakeDirty(region, first, now) && !before.Contains(true))
            return;
        Writes++;
        for (var i = 0; i < count; i++)
        {
            if (now[i] || before[i])
                _written[first + i] = Writes;
        }

        now.CopyTo(before);
    }

    /// <summary>Takes a copy of the registers for what is drawn next.</summary>
    public void Latch(VgaRegisters registers) => registers.CopyTo(_registers);

    /// <summary>Draws the picture, or only rows whose memory was written after <paramref name="since"/> where that is not negative. True if it differs.</summary>
    public bool Draw(Frame frame, int phase, long since)
    {
        _colors.Update();
        if (_registers.IsDispiEnabled)
            return DrawDispi(frame, since);
        var (width, height) = Size();
        frame.Begin(width, height);
        if (IsEmpty || _registers.IsDark)
            return DrawDark(frame);
        return DrawRaster(frame, phase);
    }

    /// <summary>The characters of a text mode.</summary>
    public void Describe(TextFrame frame, bool cursorOn)
    {
        frame.Cursor = null;
        frame.Graphics = default;
        if (_registers.IsDispiEnabled || _registers.IsGraphics || IsEmpty)
        {
            frame.Resize(0, 0);
            frame.Graphics = _registers.IsDispiEnabled ? (_registers.Dispi[DispiRegister.XResolution], _registers.Dispi[DispiRegister.YResolution]) : IsEmpty ? default : Size();
            return;
        }

        var layout = new TextLayout(_registers);
        var cells = frame.Resize(layout.Columns, layout.Rows);
        for (var row = 0; row < layout.Rows; row++)
        {
            for (var column = 0; column < layout.Columns; column++)
            {
                var word = ((uint*)_bytes)[layout.Address(column, row)];
                cells[row * layout.Columns + column] = _registers.IsDark ? default : new TextCell((byte)word, (byte)(word >> 8), _colors.Blinks);
            }
        }

        if (cursorOn && layout.Cursor is { } cursor && !_registers.IsDark)
            frame.Cursor = cursor;
    }

    private bool IsEmpty => _registers.DisplayedCharacters < LeastCharacters || _registers.DisplayedLines < LeastLines;

    private static (int Start, int Length) Shown(VgaRegisters registers)
    {
        var dispi = registers.Dispi;
        var pitch = Pitch(dispi);
        return (dispi[DispiRegister.YOffset] * pitch, dispi[DispiRegister.YResolution] * pitch);
    }

    private static int Pitch(ushort[] dispi) => dispi[DispiRegister.BitsPerPixel] == 4
        ? dispi[DispiRegister.VirtualWidth] / 2
        : dispi[DispiRegister.VirtualWidth] * BytesPerPixel(dispi[DispiRegister.BitsPerPixel]);

    private (int Width, int Height) Size()
    {
        if (IsEmpty)
            return (EmptyWidth, EmptyHeight);
        var dots = _registers.IsGraphics ? 8 : _registers.CharacterDots;
        var width = _registers.DisplayedCharacters * dots * (_registers.IsDotClockHalved ? 2 : 1);
        return (Math.Min(width, Frame.MostWidth), _registers.DisplayedLines);
    }

    private bool DrawDark(Frame frame)
    {
        var changed = false;
        var line = _line.AsSpan(0, frame.Width);
        line.Clear();
        for (var y = 0; y < frame.Height; y++)
            changed |= frame.SetRow(y, line);
        return changed;
    }

    /// <summary>As the CRT controller counts: scan lines within a row of characters or pixels, rows, and the second picture below the line compare.</summary>
    private bool DrawRaster(Frame frame, int phase)
    {
        var raster = new VgaRaster(_registers);
        var doubles = _registers.IsDotClockHalved;
        var changed = false;
        _row.Begin(phase);
        for (var y = 0; y < frame.Height; y++)
        {
            // Where the next scan line shows the same, it is not made again.
            if (y == 0 || !raster.Repeats)
            {
                _row.Draw(_line.AsSpan(Margin - raster.Panning(_registers)), raster.Address, raster.RowScan);
                if (doubles)
                    Double(_line.AsSpan(Margin), frame.Width);
            }

            changed |= frame.SetRow(y, _line.AsSpan(Margin, frame.Width));
            raster.Advance(y, _registers);
        }

        return changed;
    }

    private static void Double(Span<uint> line, int width)
    {
        for (var x = width - 1; x > 0; x--)
            line[x] = line[x >> 1];
    }

    private bool DrawDispi(Frame frame, long since)
    {
        var dispi = _registers.Dispi;
        int width = dispi[DispiRegister.XResolution], height = dispi[DispiRegister.YResolution];
        frame.Begin(width, height);
        if (_registers.IsDark)
            return DrawDark(frame);
        var pitch = Pitch(dispi);
        var bits = dispi[DispiRegister.BitsPerPixel];
        var left = bits == 4 ? dispi[DispiRegister.XOffset] / 8 * sizeof(uint) : dispi[DispiRegister.XOffset] * BytesPerPixel(bits);
        var length = bits == 4 ? width / 2 : width * BytesPerPixel(bits);
        var start = dispi[DispiRegister.YOffset] * pitch + left;
        var changed = false;
        for (var y = 0; y < height; y++, start += pitch)
        {
            if (start + length > _size)
                break;
            if (since >= 0 && !frame.Resized && !WasWritten(start, length, since))
                continue;
            VgaLinear.Draw(_line.AsSpan(0, width), _bytes + start, bits, _colors);
            changed |= frame.SetRow(y, _line.AsSpan(0, width));
        }

        return changed;
    }

    private bool WasWritten(int start, int length, long since)
    {
        var last = start + length - 1 >> GuestMemory.PageShift;
        for (var page = start >> GuestMemory.PageShift; page <= last; page++)
        {
            if (_written[page] > since)
                return true;
        }

        return false;
    }
}
