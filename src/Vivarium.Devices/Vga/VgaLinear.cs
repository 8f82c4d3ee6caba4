namespace Vivarium.Devices;

/// <summary>Rows of the display interface's modes.</summary>
internal static unsafe class VgaLinear
{
    private const uint ColorMask = 0x00FFFFFF;

    /// <summary>Converts a row of pixels.</summary>
    /// <param name="line">As many pixels as wanted.</param>
    /// <param name="source">Where they stand; all of them are there.</param>
    /// <param name="bits">4, 8, 15, 16, 24 or 32 for each.</param>
    /// <param name="colors">For up to 8 bits.</param>
    public static void Draw(Span<uint> line, byte* source, int bits, VgaColors colors)
    {
        switch (bits)
        {
            case 4:
                for (var x = 0; x < line.Length; x++)
                {
                    var planes = ((uint*)source)[x >> 3] >> (7 - (x & 7));
                    line[x] = colors.Palette[planes & 1 | planes >> 7 & 2 | planes >> 14 & 4 | planes >> 21 & 8];
                }

                break;
            case 8:
                for (var x = 0; x < line.Length; x++)
                    line[x] = colors.Dac[source[x]];
                break;
            case 15:
                for (var x = 0; x < line.Length; x++)
                {
                    uint pixel = ((ushort*)source)[x];
                    line[x] = Widen5(pixel >> 10) << 16 | Widen5(pixel >> 5) << 8 | Widen5(pixel);
                }

                break;
            case 16:
                for (var x = 0; x < line.Length; x++)
                {
                    uint pixel = ((ushort*)source)[x];
                    var green = pixel >> 5 & 0x3F;
                    line[x] = Widen5(pixel >> 11) << 16 | (green << 2 | green >> 4) << 8 | Widen5(pixel);
                }

                break;
            case 24:
                for (var x = 0; x < line.Length; x++)
                    line[x] = source[3 * x] | (uint)source[3 * x + 1] << 8 | (uint)source[3 * x + 2] << 16;
                break;
            default:
                for (var x = 0; x < line.Length; x++)
                    line[x] = ((uint*)source)[x] & ColorMask;
                break;
        }
    }

    private static uint Widen5(uint value) => (value & 0x1F) << 3 | (value & 0x1F) >> 2;
}
