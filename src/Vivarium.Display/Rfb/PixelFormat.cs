using System.Buffers.Binary;
using System.Numerics;

namespace Vivarium.Display.Rfb;

/// <summary>How a client wants its pixels (RFC 6143, 7.4).</summary>
internal sealed class PixelFormat
{
    public const int Length = 16;

    private const int TrueColorOffset = 3;

    /// <summary>What the server has: 32 bits, little-endian, 0x00RRGGBB.</summary>
    public static PixelFormat Native { get; } = new(32, 24, false, true, 255, 255, 255, 16, 8, 0);

    private readonly int _redMax, _greenMax, _blueMax, _redShift, _greenShift, _blueShift;
    private readonly bool _isNative;

    private PixelFormat(int bits, int depth, bool bigEndian, bool trueColor, int redMax, int greenMax, int blueMax, int redShift, int greenShift, int blueShift)
    {
        Bits = bits;
        Depth = depth;
        IsBigEndian = bigEndian;
        IsTrueColor = trueColor;
        (_redMax, _greenMax, _blueMax) = (redMax, greenMax, blueMax);
        (_redShift, _greenShift, _blueShift) = (redShift, greenShift, blueShift);
        bool isRgb888 = bits == 32 && redMax == 255 && greenMax == 255 && blueMax == 255;
        _isNative = isRgb888 && !bigEndian && (redShift, greenShift, blueShift) == (16, 8, 0);
        bool isLow = redShift + 8 <= 24 && greenShift + 8 <= 24 && blueShift + 8 <= 24;
        bool isHigh = redShift >= 8 && greenShift >= 8 && blueShift >= 8;
        IsTight = isRgb888 && depth == 24;

        // ZRLE leaves out the byte of 32 in which no colour has a bit (7.7.5).
        CompactBytes = isRgb888 && depth <= 24 && (isLow || isHigh) ? 3 : bits / 8;
        CompactOffset = CompactBytes == 3 && bits == 32 && isLow == bigEndian ? 1 : 0;
    }

    /// <summary>8, 16 or 32.</summary>
    public int Bits { get; }

    public int Depth { get; }

    public bool IsBigEndian { get; }

    /// <summary>False: pixels are indexes, of which the server says what colours they are.</summary>
    public bool IsTrueColor { get; }

    /// <summary>Tight sends three bytes for a pixel, red first.</summary>
    public bool IsTight { get; }

    /// <summary>Bytes of a pixel in ZRLE.</summary>
    public int CompactBytes { get; }

    private int CompactOffset { get; }

    public int Bytes => Bits / 8;

    /// <summary>Null if no server could draw in it.</summary>
    public static PixelFormat? Parse(ReadOnlySpan<byte> data)
    {
        int bits = data[0];
        bool trueColor = data[TrueColorOffset] != 0;
        if (bits is not (8 or 16 or 32) || (!trueColor && bits != 8))
        {
            return null;
        }

        if (!trueColor)
        {
            // Three bits of red, three of green, two of blue: the indexes that the colour map explains.
            return new PixelFormat(bits, 8, false, false, 7, 7, 3, 5, 2, 0);
        }

        int redMax = BinaryPrimitives.ReadUInt16BigEndian(data[4..]), greenMax = BinaryPrimitives.ReadUInt16BigEndian(data[6..]), blueMax = BinaryPrimitives.ReadUInt16BigEndian(data[8..]);
        int redShift = data[10], greenShift = data[11], blueShift = data[12];
        return Fits(redMax, redShift) && Fits(greenMax, greenShift) && Fits(blueMax, blueShift)
            ? new PixelFormat(bits, data[1], data[2] != 0, true, redMax, greenMax, blueMax, redShift, greenShift, blueShift)
            : null;

        bool Fits(int max, int shift) => BitOperations.IsPow2(max + 1) && shift + BitOperations.PopCount((uint)max) <= bits;
    }

    public void Write(RfbOutput output)
    {
        output.Byte((byte)Bits);
        output.Byte((byte)Depth);
        output.Byte(IsBigEndian ? (byte)1 : (byte)0);
        output.Byte(IsTrueColor ? (byte)1 : (byte)0);
        output.UInt16(_redMax);
        output.UInt16(_greenMax);
        output.UInt16(_blueMax);
        output.Byte((byte)_redShift);
        output.Byte((byte)_greenShift);
        output.Byte((byte)_blueShift);
        output.Zeros(3);
    }

    /// <summary>Writes pixels of 0x00RRGGBB as the client wants them; <paramref name="target"/> has <see cref="Bytes"/> for each.</summary>
    public void Convert(ReadOnlySpan<uint> pixels, Span<byte> target)
    {
        if (_isNative && BitConverter.IsLittleEndian)
        {
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(pixels).CopyTo(target);
            return;
        }

        switch (Bits)
        {
            case 8:
                for (int i = 0; i < pixels.Length; i++)
                {
                    target[i] = (byte)Convert(pixels[i]);
                }

                break;
            case 16:
                for (int i = 0; i < pixels.Length; i++)
                {
                    ushort value = (ushort)Convert(pixels[i]);
                    BinaryPrimitives.WriteUInt16LittleEndian(target[(2 * i)..], IsBigEndian ? BinaryPrimitives.ReverseEndianness(value) : value);
                }

                break;
            default:
                for (int i = 0; i < pixels.Length; i++)
                {
                    uint value = Convert(pixels[i]);
                    BinaryPrimitives.WriteUInt32LittleEndian(target[(4 * i)..], IsBigEndian ? BinaryPrimitives.ReverseEndianness(value) : value);
                }

                break;
        }
    }

    /// <summary>Writes one pixel as ZRLE does.</summary>
    public void Compact(uint pixel, RfbOutput output)
    {
        Span<byte> bytes = stackalloc byte[4];
        Convert(new ReadOnlySpan<uint>(in pixel), bytes[..Bytes]);
        output.Bytes(bytes.Slice(CompactOffset, CompactBytes));
    }

    /// <summary>Writes one pixel as Tight does.</summary>
    public void Tight(uint pixel, RfbOutput output)
    {
        if (IsTight)
        {
            output.Byte((byte)(pixel >> 16));
            output.Byte((byte)(pixel >> 8));
            output.Byte((byte)pixel);
            return;
        }

        Span<byte> bytes = stackalloc byte[4];
        Convert(new ReadOnlySpan<uint>(in pixel), bytes[..Bytes]);
        output.Bytes(bytes[..Bytes]);
    }

    private uint Convert(uint pixel) =>
        Scale(pixel >> 16 & 0xFF, _redMax) << _redShift | Scale(pixel >> 8 & 0xFF, _greenMax) << _greenShift | Scale(pixel & 0xFF, _blueMax) << _blueShift;

    private static uint Scale(uint value, int max) => ((value * (uint)max) + 127) / 255;
}
