namespace Vivarium.Display.Rfb;

/// <summary>Rectangles of one colour, of two, of up to 256, or as they are, in a zlib stream for each kind (rfbproto, Tight encoding).</summary>
internal sealed class TightEncoder : RectangleEncoder
{
    private const byte Fill = 0x80;
    private const byte ExplicitFilter = 0x40;
    private const int StreamShift = 4;
    private const byte PaletteFilter = 1;
    private const int FullColorStream = 0, TwoColorStream = 1, PaletteStream = 2;
    private const int Streams = 3;
    private const int MostColors = 256;

    /// <summary>Less than this is not worth compressing, says the protocol.</summary>
    private const int LeastCompressed = 12;

    private readonly Deflater[] _streams = new Deflater[Streams];
    private readonly Palette _palette = new(MostColors);
    private readonly RfbOutput _data = new();

    public TightEncoder()
    {
        for (int i = 0; i < Streams; i++)
        {
            _streams[i] = new Deflater();
        }
    }

    public override int Encoding => Encodings.Tight;

    /// <summary>Small enough to have few colours; the protocol allows a width of 2048.</summary>
    public override (int Width, int Height) Most => (512, 64);

    public override void Encode(RfbOutput output, PixelFormat format, ReadOnlySpan<uint> pixels, int width)
    {
        // With 8 bits a palette says no less than the pixels.
        _data.Clear();
        if (!_palette.Take(pixels) || (format.Bits == 8 && _palette.Count > 2))
        {
            output.Byte(FullColorStream << StreamShift);
            if (format.IsTight)
            {
                foreach (uint pixel in pixels)
                {
                    format.Tight(pixel, _data);
                }
            }
            else
            {
                format.Convert(pixels, _data.Room(pixels.Length * format.Bytes));
            }

            Send(output, FullColorStream);
            return;
        }

        if (_palette.Count == 1)
        {
            output.Byte(Fill);
            format.Tight(_palette.Colors[0], output);
            return;
        }

        int stream = _palette.Count == 2 ? TwoColorStream : PaletteStream;
        output.Byte((byte)(stream << StreamShift | ExplicitFilter));
        output.Byte(PaletteFilter);
        output.Byte((byte)(_palette.Count - 1));
        foreach (uint color in _palette.Colors)
        {
            format.Tight(color, output);
        }

        if (stream == TwoColorStream)
        {
            PackBits(pixels, width);
        }
        else
        {
            Span<byte> indexes = _data.Room(pixels.Length);
            for (int i = 0; i < indexes.Length; i++)
            {
                indexes[i] = (byte)_palette.IndexOf(pixels[i]);
            }
        }

        Send(output, stream);
    }

    public override void Dispose()
    {
        foreach (Deflater stream in _streams)
        {
            stream.Dispose();
        }
    }

    private void PackBits(ReadOnlySpan<uint> pixels, int width)
    {
        uint second = _palette.Colors[1];
        for (int start = 0; start < pixels.Length; start += width)
        {
            Span<byte> row = _data.Room((width + 7) / 8);
            row.Clear();
            for (int x = 0; x < width; x++)
            {
                if (pixels[start + x] == second)
                {
                    row[x >> 3] |= (byte)(0x80 >> (x & 7));
                }
            }
        }
    }

    private void Send(RfbOutput output, int stream)
    {
        if (_data.Length < LeastCompressed)
        {
            output.Bytes(_data.Span);
            return;
        }

        ReadOnlySpan<byte> compressed = _streams[stream].Compress(_data.Span);

        // Seven bits to a byte, the lowest first; the third has eight.
        int length = compressed.Length;
        output.Byte((byte)(length & 0x7F | (length > 0x7F ? 0x80 : 0)));
        if (length > 0x7F)
        {
            output.Byte((byte)(length >> 7 & 0x7F | (length > 0x3FFF ? 0x80 : 0)));
            if (length > 0x3FFF)
            {
                output.Byte((byte)(length >> 14));
            }
        }

        output.Bytes(compressed);
    }
}
