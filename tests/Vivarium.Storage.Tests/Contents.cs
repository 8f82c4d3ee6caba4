namespace Vivarium.Storage.Tests;

/// <summary>Bytes for disks, and their comparison.</summary>
internal static class Contents
{
    /// <summary>A raw file of holes, runs of one byte, text-like and random stretches.</summary>
    public static byte[] WriteMixed(string path, int length, int seed)
    {
        var random = new Random(seed);
        byte[] bytes = new byte[length];
        for (int at = 0; at < length;)
        {
            int run = Math.Min(random.Next(1, 200_000), length - at);
            Span<byte> part = bytes.AsSpan(at, run);
            switch (random.Next(4))
            {
                case 0:
                    part.Fill((byte)random.Next(256));
                    break;
                case 1:
                    random.NextBytes(part);
                    break;
                case 2:
                    for (int i = 0; i < run; i++)
                    {
                        part[i] = (byte)('a' + (random.Next() & 7));
                    }

                    break;
            }

            at += run;
        }

        File.WriteAllBytes(path, bytes);
        return bytes;
    }

    /// <summary>The disk has these bytes, read whole and in odd pieces.</summary>
    public static void Expect(DiskImage image, ReadOnlySpan<byte> expected)
    {
        byte[] actual = new byte[expected.Length];
        image.Read(0, actual.AsSpan());
        Equal(expected, actual);
        Array.Fill(actual, (byte)0xEE);
        const int Piece = 7777;
        for (int at = 0; at < actual.Length; at += Piece)
        {
            image.Read(at, actual.AsSpan(at, Math.Min(Piece, actual.Length - at)));
        }

        Equal(expected, actual);
    }

    public static void Equal(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        int same = expected.CommonPrefixLength(actual);
        Assert.True(same == expected.Length && same == actual.Length, $"the bytes differ from {same} on");
    }
}
