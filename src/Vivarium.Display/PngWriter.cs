using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using Vivarium.Devices;

namespace Vivarium.Display;

/// <summary>Writes a picture as a PNG file (ISO/IEC 15948): 8 bits each of red, green and blue.</summary>
public static class PngWriter
{
    private const byte BitDepth = 8;
    private const byte TrueColor = 2;
    private const byte FilterUp = 2;
    private const int HeaderLength = 13;
    private const int BytesPerPixel = 3;

    private static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    /// <exception cref="ArgumentException">The frame has never been refreshed.</exception>
    /// <exception cref="IOException">The stream cannot be written.</exception>
    public static void Write(Frame frame, Stream stream)
    {
        if (frame.Pixels.IsEmpty)
        {
            throw new ArgumentException("there is no picture yet", nameof(frame));
        }

        stream.Write(Signature);
        Span<byte> header = stackalloc byte[HeaderLength];
        BinaryPrimitives.WriteInt32BigEndian(header, frame.Width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], frame.Height);
        header[8] = BitDepth;
        header[9] = TrueColor;
        header[10..].Clear();
        WriteChunk(stream, "IHDR"u8, header);
        WriteChunk(stream, "IDAT"u8, Compress(frame));
        WriteChunk(stream, "IEND"u8, []);
    }

    private static ReadOnlySpan<byte> Compress(Frame frame)
    {
        var compressed = new MemoryStream();
        using (var zlib = new ZLibStream(compressed, CompressionLevel.Optimal, leaveOpen: true))
        {
            byte[] line = new byte[1 + (frame.Width * BytesPerPixel)];
            line[0] = FilterUp;
            for (int y = 0; y < frame.Height; y++)
            {
                ReadOnlySpan<uint> row = frame.Row(y);
                ReadOnlySpan<uint> above = y == 0 ? [] : frame.Row(y - 1);
                for (int x = 0, at = 1; x < row.Length; x++, at += BytesPerPixel)
                {
                    uint pixel = row[x], before = above.IsEmpty ? 0 : above[x];
                    line[at] = (byte)((pixel >> 16) - (before >> 16));
                    line[at + 1] = (byte)((pixel >> 8) - (before >> 8));
                    line[at + 2] = (byte)(pixel - before);
                }

                zlib.Write(line);
            }
        }

        return compressed.GetBuffer().AsSpan(0, (int)compressed.Length);
    }

    private static void WriteChunk(Stream stream, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        Span<byte> word = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteInt32BigEndian(word, data.Length);
        stream.Write(word);
        stream.Write(type);
        stream.Write(data);
        var crc = new Crc32();
        crc.Append(type);
        crc.Append(data);
        BinaryPrimitives.WriteUInt32BigEndian(word, crc.GetCurrentHashAsUInt32());
        stream.Write(word);
    }
}
