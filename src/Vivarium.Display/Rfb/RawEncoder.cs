namespace Vivarium.Display.Rfb;

/// <summary>Pixels as they are (RFC 6143, 7.7.1).</summary>
internal sealed class RawEncoder : RectangleEncoder
{
    public override int Encoding => Encodings.Raw;

    public override void Encode(RfbOutput output, PixelFormat format, ReadOnlySpan<uint> pixels, int width) =>
        format.Convert(pixels, output.Room(pixels.Length * format.Bytes));
}
