using System.Buffers.Binary;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>
/// 3,000 damaged images, made from sound ones by changing header, L1, L2, refcount and snapshot tables: whatever is done
/// with them ends in time, in bounded memory, and with no exception but <see cref="IOException"/>.
/// </summary>
public sealed class FuzzTests : IDisposable
{
    private const int Cases = 3000;

    /// <summary>More than all of an image's tables, far less than a size in a damaged header could ask for.</summary>
    private const long MaxAllocatedByOne = 256 << 20;

    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void DamagedImagesAreRefusedOrWork()
    {
        Qemu.Require();
        byte[][] seeds = [.. Seeds()];
        int opened = 0;
        for (int number = 0; number < Cases; number++)
        {
            var random = new Random(number);
            byte[] image = (byte[])seeds[number % seeds.Length].Clone();
            Damage(image, random);
            if (random.Next(20) == 0)
            {
                Array.Resize(ref image, random.Next(image.Length));
            }

            string path = _folder["damaged"];
            File.WriteAllBytes(path, image);
            long before = GC.GetAllocatedBytesForCurrentThread();
            opened += Use(path, random, number) ? 1 : 0;
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < MaxAllocatedByOne, $"case {number} allocated too much");
        }

        // Damage that is always refused would test the header alone.
        Assert.InRange(opened, Cases / 4, Cases - (Cases / 20));
    }

    public void Dispose() => _folder.Dispose();

    private static bool Use(string path, Random random, int number)
    {
        bool opened = false;
        byte[] buffer = new byte[20_000];
        random.NextBytes(buffer);
        Try(number, () => DiskTool.Info(path));
        Try(number, () => DiskTool.Check(path, repair: false));
        Try(number, () =>
        {
            using DiskImage image = DiskImage.Open(path, new DiskImageOptions { Format = ImageFormat.Qcow2, ReadOnly = number % 5 == 0 });
            opened = true;
            for (int i = 0; i < 12; i++)
            {
                long offset = random.NextInt64(Math.Max(1, Math.Min(image.Length, i % 4 == 0 ? long.MaxValue : 1 << 18)));
                int length = (int)Math.Min(random.Next(1, buffer.Length), image.Length - offset);
                Try(number, () =>
                {
                    switch (random.Next(6))
                    {
                        case 0:
                            image.Discard(offset, length);
                            break;
                        case 1:
                            image.WriteZeroes(offset, length, random.Next(2) == 0);
                            break;
                        case 2:
                            image.Flush();
                            break;
                        case 3:
                            image.Write(offset, buffer.AsSpan(0, length));
                            break;
                        default:
                            image.Read(offset, buffer.AsSpan(0, length));
                            break;
                    }
                });
            }
        });
        Try(number, () => DiskTool.Check(path, repair: true));
        if (number % 10 == 0)
        {
            Try(number, () => DiskTool.Resize(path, 5 << 20, ImageFormat.Qcow2, shrink: true));
        }

        return opened;
    }

    private static void Try(int number, Action action)
    {
        try
        {
            action();
        }
        catch (IOException)
        {
            // One sentence for the user: what is wanted.
        }
        catch (Exception e)
        {
            Assert.Fail($"case {number}: {e}");
        }
    }

    private static void Damage(byte[] image, Random random)
    {
        int clusterSize = 1 << BinaryPrimitives.ReadInt32BigEndian(image.AsSpan(20));
        int[] tables =
        [
            0,
            Field(image, 40),
            Field(image, Field(image, 40)) & 0x7FFF_FE00,
            Field(image, 48),
            Field(image, Field(image, 48)),
            Field(image, 64),
        ];
        int changes = random.Next(1, 5);
        for (int i = 0; i < changes; i++)
        {
            int table = tables[random.Next(tables.Length)];
            int length = table == 0 ? 160 : random.Next(3) == 0 ? clusterSize : 64;
            int at = Math.Min(table + random.Next(length), image.Length - 8);
            switch (random.Next(6))
            {
                case 0:
                    image[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    image[at] = (byte)random.Next(256);
                    break;
                case 2:
                    BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(at & ~3), Interesting(random, image.Length));
                    break;
                case 3:
                    BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(at & ~7), Interesting(random, image.Length) | ((ulong)random.Next(4) << 62));
                    break;
                case 4:
                    BinaryPrimitives.WriteUInt64BigEndian(image.AsSpan(at & ~7), (ulong)random.Next(image.Length / clusterSize) * (ulong)clusterSize);
                    break;
                default:
                    // An entry for another one: the same cluster twice.
                    image.AsSpan(Math.Min((table + random.Next(length)) & ~7, image.Length - 8), 8).CopyTo(image.AsSpan(at & ~7));
                    break;
            }
        }
    }

    private static uint Interesting(Random random, int length) => random.Next(6) switch
    {
        0 => 0,
        1 => uint.MaxValue,
        2 => 0x8000_0000,
        3 => (uint)length,
        4 => 1u << random.Next(32),
        _ => (uint)random.Next(),
    };

    private static int Field(byte[] image, int offset) => offset > image.Length - 8 ? 0 : (int)(BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(offset)) & 0x7FFF_FFFF);

    private IEnumerable<byte[]> Seeds()
    {
        Contents.WriteMixed(_folder["raw"], 150_000, seed: 3);
        string[] options =
        [
            "cluster_size=512", "cluster_size=4k", "cluster_size=4k,refcount_bits=1", "cluster_size=1k,compat=0.10",
            "cluster_size=4k,lazy_refcounts=on", "cluster_size=512,refcount_bits=64", "cluster_size=4k,compression_type=zstd",
        ];
        foreach (string option in options)
        {
            foreach (bool compress in new[] { false, true })
            {
                string path = _folder["seed"];
                Qemu.Img(["convert", .. compress ? new[] { "-c" } : [], "-f", "raw", "-O", "qcow2", "-o", option, _folder["raw"], path]);
                if (!option.Contains("refcount_bits=1", StringComparison.Ordinal))
                {
                    Qemu.Img("snapshot", "-c", "s", path);
                }

                Qemu.Io(path, "write -q -P 3 5k 60k", "discard -q 64k 32k");
                yield return File.ReadAllBytes(path);
                File.Delete(path);
            }
        }
    }
}
