namespace Vivarium.Display.Rfb;

/// <summary>Raw pixels, compressed (rfbproto, zlib encoding).</summary>
internal sealed class ZlibEncoder : RectangleEncoder
{
    private readonly Deflater _deflater = new();
    private readonly RfbOutput _raw = new();

    public override int Encoding => Encodings.Zlib;

    public override void Encode(RfbOutput output, PixelFormat format, ReadOnlySpan<uint> pixels, int width)
    {
        _raw.Clear();
        format.Convert(pixels, _raw.Room(pixels.Length * format.Bytes));
        ReadOnlySpan<byte> compressed = _deflater.Compress(_raw.Span);
        output.Int32(compressed.Length);
        output.Bytes(compressed);
    }

    public override void Dispose() => _deflater.Dispose();
}
