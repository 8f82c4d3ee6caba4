using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace Vivarium.Display.Tests;

/// <summary>Reads what a PNG of 8-bit RGB says, checking it as a viewer would.</summary>
internal static class PngReader
{
    public static (int Width, int Height, uint[] Pixels) Read(byte[] file)
    {
        Assert.Equal("89504E470D0A1A0A", Convert.ToHexString(file, 0, 8));
        int width = 0, height = 0;
        var data = new MemoryStream();
        for (int at = 8; at < file.Length;)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(at));
            string type = System.Text.Encoding.ASCII.GetString(file, at + 4, 4);
            Assert.Equal(Crc32.HashToUInt32(file.AsSpan(at + 4, length + 4)), BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at + 8 + length)));
            ReadOnlySpan<byte> chunk = file.AsSpan(at + 8, length);
            if (type == "IHDR")
            {
                width = BinaryPrimitives.ReadInt32BigEndian(chunk);
                height = BinaryPrimitives.ReadInt32BigEndian(chunk[4..]);
                Assert.Equal("0802000000", Convert.ToHexString(chunk[8..]));
            }
            else if (type == "IDAT")
            {
                data.Write(chunk);
            }

            at += length + 12;
        }

        data.Position = 0;
        using var zlib = new ZLibStream(data, CompressionMode.Decompress);
        uint[] pixels = new uint[width * height];
        byte[] line = new byte[1 + (width * 3)], above = new byte[1 + (width * 3)];
        for (int y = 0; y < height; y++)
        {
            zlib.ReadExactly(line);
            Assert.Equal(2, line[0]);
            for (int i = 1; i < line.Length; i++)
            {
                line[i] += above[i];
            }

            for (int x = 0; x < width; x++)
            {
                pixels[(y * width) + x] = (uint)(line[1 + (x * 3)] << 16 | line[2 + (x * 3)] << 8 | line[3 + (x * 3)]);
            }

            line.CopyTo(above, 0);
        }

        return (width, height, pixels);
    }
}
