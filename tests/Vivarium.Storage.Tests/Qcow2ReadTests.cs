namespace Vivarium.Storage.Tests;

/// <summary>Images that QEMU made, read by us.</summary>
public sealed class Qcow2ReadTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public Qcow2ReadTests() => Qemu.Require();

    public static TheoryData<string> Options =>
    [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=4096,lazy_refcounts=on",
        "cluster_size=2M",
        "compat=0.10,cluster_size=1024",
        "refcount_bits=1",
        "refcount_bits=8,cluster_size=8k",
        "refcount_bits=64",
        "preallocation=metadata",
        "preallocation=falloc,cluster_size=128k",
        "compression_type=zstd",
    ];

    [Theory]
    [MemberData(nameof(Options))]
    public void ReadsWhatQemuWrote(string options)
    {
        string path = _folder["a.qcow2"];
        Qemu.Img("create", "-q", "-f", "qcow2", "-o", options, path, "9M");
        Qemu.Io(path, "write -q -P 1 0 4k", "write -q -P 2 1000k 70k", "write -q -z 1M 64k", "write -q -P 3 8191k 1M", "discard -q 8500k 128k");
        Expect(path);
    }

    [Theory]
    [InlineData("zlib", 65536)]
    [InlineData("zlib", 512)]
    [InlineData("zlib", 2 << 20)]
    [InlineData("zstd", 65536)]
    [InlineData("zstd", 4096)]
    public void ReadsCompressedClusters(string type, int clusterSize)
    {
        Contents.WriteMixed(_folder["a.raw"], 5 << 20, seed: 1);
        string path = _folder["a.qcow2"];
        Qemu.Img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", $"compression_type={type},cluster_size={clusterSize}", _folder["a.raw"], path);
        Expect(path);
    }

    [Fact]
    public void ReadsChainsByRelativePaths()
    {
        Contents.WriteMixed(_folder["base.raw"], 3 << 20, seed: 2);
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", _folder["middle.qcow2"], "5M");
        Qemu.Io(_folder["middle.qcow2"], "write -q -P 7 2900k 300k");
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", "-o", "cluster_size=1k", _folder["top.qcow2"], "6M");
        Qemu.Io(_folder["top.qcow2"], "write -q -P 8 100k 3k", "write -q -z 200k 3k");
        Expect(_folder["top.qcow2"]);
    }

    public void Dispose() => _folder.Dispose();

    private void Expect(string path)
    {
        Qemu.Img("convert", "-O", "raw", path, _folder["expected.raw"]);
        using DiskImage image = DiskImage.Open(path, new DiskImageOptions { ReadOnly = true });
        byte[] expected = File.ReadAllBytes(_folder["expected.raw"]);
        Assert.Equal(expected.Length, image.Length);
        Contents.Expect(image, expected);
    }
}
