namespace Vivarium.Display.Rfb;

/// <summary>Tiles of 64 by 64 pixels: of one colour, of up to 16, or as they are; all compressed (RFC 6143, 7.7.6).</summary>
internal sealed class ZrleEncoder : RectangleEncoder
{
    private const int Tile = 64;
    private const int MostColors = 16;
    private const byte RawTile = 0;

    private readonly Deflater _deflater = new();
    private readonly RfbOutput _tiles = new();
    private readonly Palette _palette = new(MostColors);
    private readonly uint[] _tile = new uint[Tile * Tile];

    public override int Encoding => Encodings.Zrle;

    public override void Encode(RfbOutput output, PixelFormat format, ReadOnlySpan<uint> pixels, int width)
    {
        _tiles.Clear();
        int height = pixels.Length / width;
        for (int y = 0; y < height; y += Tile)
        {
            for (int x = 0; x < width; x += Tile)
            {
                int columns = Math.Min(Tile, width - x), rows = Math.Min(Tile, height - y);
                for (int row = 0; row < rows; row++)
                {
                    pixels.Slice(((y + row) * width) + x, columns).CopyTo(_tile.AsSpan(row * columns));
                }

                EncodeTile(format, _tile.AsSpan(0, columns * rows), columns);
            }
        }

        ReadOnlySpan<byte> compressed = _deflater.Compress(_tiles.Span);
        output.Int32(compressed.Length);
        output.Bytes(compressed);
    }

    public override void Dispose() => _deflater.Dispose();

    private void EncodeTile(PixelFormat format, ReadOnlySpan<uint> tile, int columns)
    {
        if (!_palette.Take(tile))
        {
            _tiles.Byte(RawTile);
            foreach (uint pixel in tile)
            {
                format.Compact(pixel, _tiles);
            }

            return;
        }

        // The number of colours is the kind of tile; one is all of it.
        _tiles.Byte((byte)_palette.Count);
        foreach (uint color in _palette.Colors)
        {
            format.Compact(color, _tiles);
        }

        if (_palette.Count == 1)
        {
            return;
        }

        int bits = _palette.Count <= 2 ? 1 : _palette.Count <= 4 ? 2 : 4;
        for (int start = 0; start < tile.Length; start += columns)
        {
            int packed = 0, filled = 0;
            foreach (uint pixel in tile.Slice(start, columns))
            {
                packed = packed << bits | _palette.IndexOf(pixel);
                filled += bits;
                if (filled == 8)
                {
                    _tiles.Byte((byte)packed);
                    (packed, filled) = (0, 0);
                }
            }

            if (filled != 0)
            {
                _tiles.Byte((byte)(packed << (8 - filled)));
            }
        }
    }
}
