using System.Text.RegularExpressions;
using Vivarium.Storage.Qcow2;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>Create, info, convert, resize, check: QEMU agrees with what they make.</summary>
public sealed class ToolTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public ToolTests() => Qemu.Require();

    [Theory]
    [InlineData(512, 100L << 20, false, CompressionType.Zlib)]
    [InlineData(4096, 8L << 30, true, CompressionType.Zlib)]
    [InlineData(65536, 1L << 40, false, CompressionType.Zstd)]
    [InlineData(2 << 20, (1L << 50) + 512, true, CompressionType.Zstd)]
    public void CreatesWhatQemuTakes(int clusterSize, long size, bool lazy, CompressionType type)
    {
        DiskTool.Create(_folder["a"], new CreateOptions { Size = size, ClusterSize = clusterSize, LazyRefcounts = lazy, CompressionType = type });
        Qemu.Check(_folder["a"]);
        string info = Qemu.Img("info", _folder["a"]);
        Assert.Contains($"({size} bytes)", info, StringComparison.Ordinal);
        Assert.Contains($"cluster_size: {clusterSize}", info, StringComparison.Ordinal);
        Assert.Contains($"compression type: {type.ToString().ToLowerInvariant()}", info, StringComparison.Ordinal);
        Assert.Contains($"lazy refcounts: {(lazy ? "true" : "false")}", info, StringComparison.Ordinal);
        Qemu.Io(_folder["a"], "write -q -P 5 1M 3M", $"write -q -P 6 {size - 65536} 64k");
        Qemu.Check(_folder["a"]);
        using DiskImage image = DiskImage.Open(_folder["a"]);
        byte[] end = new byte[65536];
        image.Read(size - end.Length, end.AsSpan());
        Assert.False(end.AsSpan().ContainsAnyExcept((byte)6));
    }

    [Fact]
    public void CreatesOnABackingFile()
    {
        byte[] content = Contents.WriteMixed(_folder["base.raw"], 2 << 20, seed: 1);
        Directory.CreateDirectory(_folder["sub"]);
        DiskTool.Create(_folder["sub/top"], new CreateOptions { BackingFile = _folder["base.raw"], BackingFormat = ImageFormat.Raw });
        Qemu.Compare(_folder["base.raw"], _folder["sub/top"]);
        Assert.Contains("backing file format: raw", Qemu.Img("info", _folder["sub/top"]), StringComparison.Ordinal);
        using DiskImage image = DiskImage.Open(_folder["sub/top"]);
        Contents.Expect(image, content);
    }

    [Fact]
    public void TellsWhatThereIs()
    {
        Qemu.Img("create", "-q", "-f", "raw", _folder["base"], "1M");
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "-o", "cluster_size=8k,refcount_bits=32,lazy_refcounts=on", _folder["top"], "2M");
        Qemu.Img("snapshot", "-c", "one", _folder["top"]);
        ImageInfo info = DiskTool.Info(_folder["top"]);
        Assert.Equal((ImageFormat.Qcow2, 2L << 20), (info.Format, info.Size));
        Assert.Equal((3, 8192, 32, true), (info.Qcow2!.Version, info.Qcow2.ClusterSize, info.Qcow2.RefcountBits, info.Qcow2.LazyRefcounts));
        Assert.Equal(("base", "raw"), (info.Qcow2.BackingFile, info.Qcow2.BackingFormat));
        Assert.Equal("one", Assert.Single(info.Qcow2.Snapshots).Name);
        Assert.Equal((ImageFormat.Raw, 1L << 20), (info.Backing!.Format, info.Backing.Size));
        File.Delete(_folder["base"]);
        Assert.Contains(_folder["base"], DiskTool.Info(_folder["top"]).BackingProblem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ImageFormat.Raw, false, CompressionType.Zlib, 65536)]
    [InlineData(ImageFormat.Qcow2, false, CompressionType.Zlib, 65536)]
    [InlineData(ImageFormat.Qcow2, false, CompressionType.Zlib, 512)]
    [InlineData(ImageFormat.Qcow2, true, CompressionType.Zlib, 65536)]
    [InlineData(ImageFormat.Qcow2, true, CompressionType.Zlib, 512)]
    [InlineData(ImageFormat.Qcow2, true, CompressionType.Zlib, 2 << 20)]
    [InlineData(ImageFormat.Qcow2, true, CompressionType.Zstd, 65536)]
    [InlineData(ImageFormat.Qcow2, true, CompressionType.Zstd, 4096)]
    public void Converts(ImageFormat format, bool compress, CompressionType type, int clusterSize)
    {
        byte[] content = Contents.WriteMixed(_folder["a.raw"], (5 << 20) + 512, seed: 2);
        Qemu.Img("convert", "-f", "raw", "-O", "qcow2", _folder["a.raw"], _folder["a.qcow2"]);
        long last = 0;
        var options = new ConvertOptions { Format = format, Compress = compress, CompressionType = type, ClusterSize = clusterSize };
        DiskTool.Convert(_folder["a.qcow2"], _folder["b"], options, (done, _) => last = done, TestContext.Current.CancellationToken);
        Assert.Equal(content.Length, last);
        if (format == ImageFormat.Qcow2)
        {
            Qemu.Check(_folder["b"]);
        }

        Qemu.Img("compare", "-f", "raw", "-F", format == ImageFormat.Raw ? "raw" : "qcow2", _folder["a.raw"], _folder["b"]);
        Assert.True(DiskTool.Info(_folder["b"]).AllocatedSize < content.Length);
        using DiskImage image = DiskImage.Open(_folder["b"], new DiskImageOptions { Format = format });
        Contents.Expect(image, content);
    }

    [Fact]
    public void AConversionCutShortLeavesNothing()
    {
        Contents.WriteMixed(_folder["a.raw"], 8 << 20, seed: 3);
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => DiskTool.Convert(_folder["a.raw"], _folder["b"], new ConvertOptions(), (_, _) => stop.Cancel(), stop.Token));
        Assert.Equal([_folder["a.raw"]], Directory.GetFiles(_folder.Path));
    }

    [Theory]
    [InlineData("compat=1.1", "20M")]
    [InlineData("cluster_size=512", "300M")]
    [InlineData("cluster_size=4k,compat=0.10", "3G")]
    [InlineData("cluster_size=4k,lazy_refcounts=on", "3G")]
    public void Grows(string options, string size)
    {
        byte[] content = Contents.WriteMixed(_folder["a.raw"], (3 << 20) + 512, seed: 4);
        Qemu.Img("convert", "-f", "raw", "-O", "qcow2", "-o", options, _folder["a.raw"], _folder["a"]);
        Assert.True(ByteCount(size) > 0);
        DiskTool.Resize(_folder["a"], ByteCount(size));
        Qemu.Check(_folder["a"]);
        Qemu.Img("resize", "-q", "-f", "raw", _folder["a.raw"], size);
        Qemu.Img("compare", "-f", "raw", "-F", "qcow2", _folder["a.raw"], _folder["a"]);
    }

    [Theory]
    [InlineData("compat=1.1")]
    [InlineData("compat=0.10,cluster_size=512")]
    public void GrowsWithoutShowingALongerBackingFile(string options)
    {
        Contents.WriteMixed(_folder["base"], 3 << 20, seed: 5);
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "-o", options, _folder["a"], "1049088");
        byte[] expected = new byte[2 << 20];
        File.ReadAllBytes(_folder["base"]).AsSpan(0, 1049088).CopyTo(expected);
        DiskTool.Resize(_folder["a"], expected.Length);
        Qemu.Check(_folder["a"]);
        using DiskImage image = DiskImage.Open(_folder["a"]);
        Contents.Expect(image, expected);
    }

    [Fact]
    public void ShrinksOnlyWhenAsked()
    {
        byte[] content = Contents.WriteMixed(_folder["a.raw"], 3 << 20, seed: 6);
        Qemu.Img("convert", "-f", "raw", "-O", "qcow2", _folder["a.raw"], _folder["a"]);
        string refusal = Assert.Throws<DiskImageException>(() => DiskTool.Resize(_folder["a"], 1 << 20)).Message;
        Assert.Contains("--shrink", refusal, StringComparison.Ordinal);
        DiskTool.Resize(_folder["a"], (1 << 20) + 512, shrink: true);
        Qemu.Check(_folder["a"]);
        DiskTool.Resize(_folder["a"], 3 << 20);
        content.AsSpan((1 << 20) + 512).Clear();
        using (DiskImage image = DiskImage.Open(_folder["a"]))
        {
            Contents.Expect(image, content);
        }

        Qemu.Img("snapshot", "-c", "s", _folder["a"]);
        Assert.Contains("snapshots", Assert.Throws<DiskImageException>(() => DiskTool.Resize(_folder["a"], 1 << 20, shrink: true)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("compat=1.1")]
    [InlineData("cluster_size=512,refcount_bits=64")]
    [InlineData("cluster_size=4k,refcount_bits=1")]
    public void FindsAndRepairsWhatQemuFinds(string options)
    {
        string path = _folder["a"];
        Qemu.Img("create", "-q", "-f", "qcow2", "-o", options, path, "10M");
        Qemu.Io(path, "write -q -P 1 0 3M", "write -q -P 2 7M 1M");
        Qemu.Img("convert", "-O", "raw", path, _folder["before"]);
        Assert.True(DiskTool.Check(path, repair: false).IsClean);

        // Some clusters in use become uncounted, and a new one at the end is counted and not used.
        int clusterSize = DiskTool.Info(path).Qcow2!.ClusterSize;
        int clusters = (int)((new FileInfo(path).Length + clusterSize - 1) / clusterSize);
        byte[] bytes = File.ReadAllBytes(path);
        Array.Resize(ref bytes, (clusters + 1) * clusterSize);
        SetRefcount(bytes, clusters, 1);
        for (int cluster = 20; cluster < 30; cluster++)
        {
            SetRefcount(bytes, cluster, 0);
        }

        File.WriteAllBytes(path, bytes);

        CheckReport found = DiskTool.Check(path, repair: false);
        string theirs = Qemu.Run("qemu-img", ["check", path]).Output;
        Assert.Equal((1, Number(theirs, @"(\d+) leaked clusters")), (found.Leaks, found.Leaks));
        Assert.True(found.Corruptions > 0 && theirs.Contains("errors were found", StringComparison.Ordinal), theirs);
        CheckReport repaired = DiskTool.Check(path, repair: true);
        Assert.True(repaired.IsClean);
        Assert.Equal(found.Leaks, repaired.LeaksRepaired);
        Assert.Equal(found.Corruptions, repaired.CorruptionsRepaired);
        Qemu.Check(path);
        Qemu.Compare(path, _folder["before"]);
    }

    [Fact]
    public void ChecksSnapshotsAndBitmaps()
    {
        string path = _folder["a"];
        Qemu.Img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, "10M");
        Qemu.Img("bitmap", "--add", "-g", "4k", path, "b0");
        Qemu.Io(path, "write -q -P 1 0 3M");
        Qemu.Img("snapshot", "-c", "s", path);
        Qemu.Io(path, "write -q -P 2 1M 3M");
        Qemu.Check(path);
        CheckReport report = DiskTool.Check(path, repair: false);
        Assert.Equal((0, 0), (report.Corruptions, report.Leaks));
    }

    public void Dispose() => _folder.Dispose();

    private static unsafe void SetRefcount(byte[] image, int cluster, ulong value)
    {
        int clusterSize = 1 << System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(image.AsSpan(20));
        int order = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(image.AsSpan(96));
        int perBlock = clusterSize * 8 >> order;
        int table = (int)System.Buffers.Binary.BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(48));
        int block = (int)System.Buffers.Binary.BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(table + (cluster / perBlock * 8)));
        Assert.NotEqual(0, block);
        fixed (byte* pointer = image)
        {
            RefcountEntry.Write(pointer + block, cluster % perBlock, order, value);
        }
    }

    private static long Number(string text, string pattern) =>
        Regex.Match(text, pattern) is { Success: true } match ? long.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) : 0;

    private static long ByteCount(string size) => long.Parse(size[..^1], System.Globalization.CultureInfo.InvariantCulture) << (size[^1] == 'G' ? 30 : 20);
}
