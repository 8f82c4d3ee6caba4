using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>Random requests on a disk and on a byte array: both read the same, and QEMU agrees with the file afterwards.</summary>
public sealed unsafe class ModelTests : IDisposable
{
    private const int Requests = 600;

    private readonly TemporaryFolder _folder = new();

    public ModelTests() => Qemu.Require();

    public static TheoryData<string, string> Images => new()
    {
        { "qcow2", "compat=0.10" },
        { "qcow2", "compat=1.1" },
        { "qcow2", "cluster_size=512" },
        { "qcow2", "cluster_size=512,refcount_bits=64" },
        { "qcow2", "cluster_size=1024,refcount_bits=1" },
        { "qcow2", "cluster_size=4096,lazy_refcounts=on" },
        { "qcow2", "cluster_size=4096,refcount_bits=2" },
        { "qcow2", "cluster_size=4096,refcount_bits=4" },
        { "qcow2", "cluster_size=8192,refcount_bits=8,preallocation=metadata" },
        { "qcow2", "cluster_size=16k,refcount_bits=32" },
        { "qcow2", "cluster_size=2M" },
        { "raw", "" },
    };

    [Theory]
    [MemberData(nameof(Images))]
    public void AgreesWithTheModel(string format, string options)
    {
        const int Length = (6 << 20) + 1536;
        string path = _folder["disk"];
        Qemu.Img(["create", "-q", "-f", format, .. options.Length > 0 ? new[] { "-o", options } : [], path, $"{Length}"]);
        byte[] model = new byte[Length];
        for (int round = 0; round < 2; round++)
        {
            using DiskImage disk = DiskImage.Open(path, new DiskImageOptions { Format = ImageProbe.Parse(format) });
            Exercise(disk, model, new Random(round));
        }

        Judge(path, format, model);
    }

    [Theory]
    [InlineData("raw", "compat=1.1")]
    [InlineData("raw", "compat=0.10,cluster_size=4k")]
    [InlineData("qcow2", "cluster_size=512")]
    [InlineData("compressed", "cluster_size=64k")]
    [InlineData("compressed", "compression_type=zstd,cluster_size=8k,lazy_refcounts=on")]
    public void AgreesOnABackingFile(string kind, string options)
    {
        const int Length = 5 << 20;
        byte[] model = Contents.WriteMixed(_folder["base.raw"], Length - 100_352, seed: 5);
        Array.Resize(ref model, Length);
        string backing = "base.raw";
        if (kind != "raw")
        {
            backing = "base.qcow2";
            string[] compress = kind == "compressed" ? ["-c"] : [];
            Qemu.Img(["convert", .. compress, "-f", "raw", "-O", "qcow2", _folder["base.raw"], _folder[backing]]);
        }

        Qemu.Img("create", "-q", "-f", "qcow2", "-b", backing, "-F", kind == "raw" ? "raw" : "qcow2", "-o", options, _folder["disk"], $"{Length}");
        using (DiskImage disk = DiskImage.Open(_folder["disk"]))
        {
            Exercise(disk, model, new Random(9));
        }

        Judge(_folder["disk"], "qcow2", model);
    }

    [Theory]
    [InlineData("zlib", 65536)]
    [InlineData("zlib", 512)]
    [InlineData("zstd", 4096)]
    public void ReplacesCompressedClusters(string type, int clusterSize)
    {
        byte[] model = Contents.WriteMixed(_folder["base.raw"], 4 << 20, seed: 6);
        Qemu.Img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", $"cluster_size={clusterSize},compression_type={type}", _folder["base.raw"], _folder["disk"]);
        using (DiskImage disk = DiskImage.Open(_folder["disk"]))
        {
            Exercise(disk, model, new Random(10));
        }

        Judge(_folder["disk"], "qcow2", model);
    }

    [Fact]
    public void KeepsSnapshots()
    {
        byte[] model = Contents.WriteMixed(_folder["base.raw"], 3 << 20, seed: 7);
        Qemu.Img("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", _folder["base.raw"], _folder["disk"]);
        Qemu.Img("snapshot", "-c", "before", _folder["disk"]);
        byte[] before = (byte[])model.Clone();
        using (DiskImage disk = DiskImage.Open(_folder["disk"]))
        {
            Exercise(disk, model, new Random(11));
        }

        Judge(_folder["disk"], "qcow2", model);
        Qemu.Img("snapshot", "-c", "between", _folder["disk"]);
        byte[] between = (byte[])model.Clone();
        using (DiskImage disk = DiskImage.Open(_folder["disk"]))
        {
            Exercise(disk, model, new Random(12));
        }

        Judge(_folder["disk"], "qcow2", model);
        foreach ((string name, byte[] content) in new[] { ("between", between), ("before", before) })
        {
            Qemu.Img("snapshot", "-a", name, _folder["disk"]);
            Judge(_folder["disk"], "qcow2", content);
        }
    }

    [Fact]
    public void OverlaysAreThrownAway()
    {
        byte[] model = Contents.WriteMixed(_folder["base.raw"], 4 << 20, seed: 8);
        Qemu.Img("convert", "-f", "raw", "-O", "qcow2", _folder["base.raw"], _folder["disk"]);
        byte[] before = File.ReadAllBytes(_folder["disk"]);
        using (DiskImage disk = DiskImage.Open(_folder["disk"], new DiskImageOptions { Overlay = true, OverlayFolder = _folder.Path }))
        {
            Exercise(disk, model, new Random(13));
            Assert.Equal(2, Directory.GetFiles(_folder.Path).Length);
        }

        Assert.Equal(before, File.ReadAllBytes(_folder["disk"]));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(65536)]
    public void QueuesMayWriteAtOnce(int clusterSize)
    {
        const int Length = 8 << 20;
        const int Queues = 4;
        DiskTool.Create(_folder["disk"], new CreateOptions { Size = Length, ClusterSize = clusterSize });
        byte[] model = new byte[Length];
        using (DiskImage disk = DiskImage.Open(_folder["disk"]))
        {
            // The queues' sectors alternate, so that they meet in every cluster.
            Parallel.For(0, Queues, queue =>
            {
                var random = new Random(queue);
                byte[] sector = new byte[DiskImage.SectorSize];
                byte[] read = new byte[DiskImage.SectorSize];
                for (int i = 0; i < 4000; i++)
                {
                    int at = ((random.Next(Length / DiskImage.SectorSize / Queues) * Queues) + queue) * DiskImage.SectorSize;
                    switch (random.Next(20))
                    {
                        case 0:
                            disk.WriteZeroes(at, sector.Length, mayUnmap: true);
                            model.AsSpan(at, sector.Length).Clear();
                            break;
                        case 1 when i % 50 == 0:
                            disk.Flush();
                            break;
                        default:
                            random.NextBytes(sector);
                            disk.Write(at, sector);
                            sector.CopyTo(model.AsSpan(at));
                            disk.Read(at, read.AsSpan());
                            Contents.Equal(sector, read);
                            break;
                    }
                }
            });
        }

        Judge(_folder["disk"], "qcow2", model);
    }

    public void Dispose() => _folder.Dispose();

    private static void Exercise(DiskImage disk, byte[] model, Random random)
    {
        byte[] buffer = new byte[300_000];
        for (int i = 0; i < Requests; i++)
        {
            int most = random.Next(4) switch { 0 => 1024, 1 => 20_000, 2 => 100_000, _ => buffer.Length };
            int length = random.Next(1, most);
            int at = random.Next(0, model.Length - length + 1);
            if (random.Next(3) > 0)
            {
                at &= -4096;
                length = Math.Min((length + 4095) & -4096, Math.Min(buffer.Length & -4096, model.Length - at));
            }

            Span<byte> part = buffer.AsSpan(0, length);
            switch (random.Next(12))
            {
                case < 5:
                    random.NextBytes(part);
                    WritePieces(disk, at, part, random);
                    part.CopyTo(model.AsSpan(at));
                    break;
                case < 8:
                    ReadPieces(disk, at, part, random);
                    Contents.Equal(model.AsSpan(at, length), part);
                    break;
                case 8:
                    disk.WriteZeroes(at, length, mayUnmap: random.Next(2) == 0);
                    model.AsSpan(at, length).Clear();
                    break;
                case 9:
                    // What a discarded range reads as is the image's choice, byte by byte: old content or zero.
                    disk.Discard(at, length);
                    disk.Read(at, part);
                    for (int b = 0; b < length; b++)
                    {
                        Assert.True(part[b] == 0 || part[b] == model[at + b]);
                    }

                    part.CopyTo(model.AsSpan(at));
                    break;
                case 10 when i % 3 == 0:
                    disk.Flush();
                    break;
            }
        }

        Contents.Expect(disk, model);
    }

    private static void WritePieces(DiskImage disk, int at, ReadOnlySpan<byte> bytes, Random random)
    {
        fixed (byte* pointer = bytes)
        {
            disk.Write(at, Cut(pointer, bytes.Length, random));
        }
    }

    private static void ReadPieces(DiskImage disk, int at, Span<byte> bytes, Random random)
    {
        fixed (byte* pointer = bytes)
        {
            disk.Read(at, Cut(pointer, bytes.Length, random));
        }
    }

    private static IoSegment[] Cut(byte* pointer, int length, Random random)
    {
        var segments = new List<IoSegment>();
        int piece = random.Next(1, random.Next(2) == 0 ? 1000 : length + 1);
        for (int at = 0; at < length;)
        {
            int count = Math.Min(random.Next(0, piece + 1), length - at);
            segments.Add(new IoSegment(pointer + at, (nuint)count));
            at += count;
        }

        return [.. segments];
    }

    private void Judge(string path, string format, byte[] model)
    {
        if (format == "qcow2")
        {
            Qemu.Check(path);
        }

        File.WriteAllBytes(_folder["model.raw"], model);
        Qemu.Img("compare", "-f", format, "-F", "raw", path, _folder["model.raw"]);
    }
}
