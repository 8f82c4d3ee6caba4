using System.Buffers.Binary;
using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>Files that are no disks, or not ours to use: one sentence each that names the file and the cause.</summary>
public sealed class BadInputTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Fact]
    public void MissingFolderFifoPermission()
    {
        Refused("there is no disk image", _folder["none"]);
        Refused("is a folder", _folder.Path);
        Assert.SkipUnless(File.Exists("/dev/null"), "no /dev/null");
        Refused("neither a file nor a block device", "/dev/null");
    }

    [Fact]
    public void NoQcow2()
    {
        File.WriteAllBytes(_folder["a"], new byte[4096]);
        string message = Assert.Throws<DiskImageException>(() => DiskImage.Open(_folder["a"], new DiskImageOptions { Format = ImageFormat.Qcow2 })).Message;
        Assert.Contains("no qcow2 image", message, StringComparison.Ordinal);
        Assert.Throws<DiskImageException>(() => DiskTool.Check(_folder["a"], repair: false));
    }

    [Theory]
    [InlineData(4, 4, "version")]
    [InlineData(20, 8, "clusters")]
    [InlineData(20, 22, "clusters")]
    [InlineData(24, -1, "larger")]
    [InlineData(32, 1, "encrypted (AES)")]
    [InlineData(32, 2, "encrypted (LUKS)")]
    [InlineData(36, 0x7FFFFFFF, "L1 table")]
    [InlineData(36, 0, "too small")]
    [InlineData(44, 0x10001, "L1 table")]
    [InlineData(44, 0x7FFF0000, "truncated")]
    [InlineData(44, 0, "within the header")]
    [InlineData(52, 0x7FFF0000, "truncated")]
    [InlineData(56, 0x7FFFFFFF, "refcount table")]
    [InlineData(56, 0, "no refcount table")]
    [InlineData(60, 0x7FFFFFFF, "snapshots")]
    [InlineData(76, 4, "external data file")]
    [InlineData(76, 16, "extended L2")]
    [InlineData(76, 8, "compression type")]
    [InlineData(76, 64, "feature bit 6")]
    [InlineData(76, 2, "marked as corrupt")]
    [InlineData(96, 7, "refcounts")]
    [InlineData(100, 96, "header is")]
    [InlineData(100, 0x7FFFFFF8, "header is")]
    public void AbsurdHeader(int offset, int value, string expected)
    {
        DiskTool.Create(_folder["a"], new CreateOptions { Size = 1 << 30 });
        Patch(_folder["a"], offset, value);
        Refused(expected, _folder["a"]);
    }

    [Fact]
    public void UnknownFeaturesAreNamed()
    {
        // The name table's first entry, "dirty bit", becomes one for bit 6.
        DiskTool.Create(_folder["a"], new CreateOptions { Size = 1 << 30 });
        byte[] bytes = File.ReadAllBytes(_folder["a"]);
        int entry = bytes.AsSpan().IndexOf("dirty bit"u8) - 2;
        bytes[entry + 1] = 6;
        "time travel\0"u8.CopyTo(bytes.AsSpan(entry + 2));
        bytes[79] = 64;
        File.WriteAllBytes(_folder["a"], bytes);
        Refused("'time travel'", _folder["a"]);
    }

    [Fact]
    public void Truncated()
    {
        DiskTool.Create(_folder["a"], new CreateOptions { Size = 1 << 30 });
        byte[] bytes = File.ReadAllBytes(_folder["a"]);
        foreach (int length in new[] { 8, 71, 4096, 65536, 100_000 })
        {
            File.WriteAllBytes(_folder["a"], bytes[..length]);
            Refused("truncated", _folder["a"]);
        }
    }

    [Fact]
    public void CyclicMissingAndEndlessBackingFiles()
    {
        Qemu.Require();
        Create("a", "b");
        Create("b", "a");
        Refused("its own backing file", _folder["a"]);
        Create("self", "self");
        Refused("its own backing file", _folder["self"]);
        Create("lonely", "gone");
        Refused($"the backing file {_folder["gone"]} of {_folder["lonely"]} is not there", _folder["lonely"]);
        Create("network", "nbd:localhost:10809");
        Refused("supports files only", _folder["network"]);
        Create("json", "json:{}");
        Refused("JSON", _folder["json"]);
        for (int i = 0; i < 70; i++)
        {
            Create($"c{i}", $"c{i + 1}");
        }

        Refused("chain of backing files", _folder["c0"]);
        Assert.Contains("its own backing file", DiskTool.Info(_folder["a"]).Backing!.BackingProblem, StringComparison.Ordinal);
    }

    [Fact]
    public void ProbingDoesNotTrustTheGuest()
    {
        Qemu.Require();
        File.WriteAllText(_folder["secret"], new string('s', 4096));
        File.WriteAllBytes(_folder["raw"], new byte[1 << 20]);
        Qemu.Img("create", "-q", "-f", "qcow2", "-b", "secret", "-F", "raw", _folder["evil"]);
        byte[] header = File.ReadAllBytes(_folder["evil"])[..4096];
        using (DiskImage probed = DiskImage.Open(_folder["raw"]))
        {
            Assert.Throws<IOException>(() => probed.Write(0, header.AsSpan()));
            probed.Write(0, header.AsSpan(0, 3));
            Assert.Throws<IOException>(() => probed.Write(3, header.AsSpan(3, 1)));
            probed.Write(4, header.AsSpan(4));
        }

        Assert.Equal(ImageFormat.Raw, ImageProbe.Detect(_folder["raw"]));
        using (DiskImage said = DiskImage.Open(_folder["raw"], new DiskImageOptions { Format = ImageFormat.Raw }))
        {
            said.Write(0, File.ReadAllBytes(_folder["evil"]).AsSpan());
        }

        Create("top", "raw");
        Refused("does not say", _folder["top"]);
    }

    [Fact]
    public void RequestsThatLeaveTheDisk()
    {
        DiskTool.Create(_folder["a"], new CreateOptions { Size = 1 << 20 });
        using DiskImage image = DiskImage.Open(_folder["a"], new DiskImageOptions { ReadOnly = true });
        byte[] sector = new byte[512];
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Read(-1, sector.AsSpan()));
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Read((1 << 20) - 511, sector.AsSpan()));
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Read(long.MaxValue - 10, sector.AsSpan()));
        Assert.Throws<ArgumentOutOfRangeException>(() => image.Discard(0, long.MaxValue));
        Assert.Throws<IOException>(() => image.Write(0, sector.AsSpan()));
        Assert.Throws<IOException>(() => image.WriteZeroes(0, 512, mayUnmap: true));
    }

    [Fact]
    public void ToolsRefuse()
    {
        File.WriteAllBytes(_folder["a"], new byte[512]);
        Says("exists already", () => DiskTool.Create(_folder["a"], new CreateOptions { Size = 1 << 20 }));
        Says("exists already", () => DiskTool.Convert(_folder["a"], _folder["a"], new ConvertOptions()));
        Says("does not exist", () => DiskTool.Create(_folder["no/b"], new CreateOptions { Size = 1 << 20 }));
        Says("power of two", () => DiskTool.Create(_folder["b"], new CreateOptions { Size = 1 << 20, ClusterSize = 3000 }));
        Says("larger clusters", () => DiskTool.Create(_folder["b"], new CreateOptions { Size = 1L << 50, ClusterSize = 512 }));
        Says("more than 0", () => DiskTool.Create(_folder["b"], new CreateOptions { Size = 0 }));
        Says("how large", () => DiskTool.Create(_folder["b"], new CreateOptions()));
        Says("backing file", () => DiskTool.Create(_folder["b"], new CreateOptions { Format = ImageFormat.Raw, BackingFile = _folder["a"] }));
        Says("compressed", () => DiskTool.Convert(_folder["a"], _folder["b"], new ConvertOptions { Format = ImageFormat.Raw, Compress = true }));
        Says("no disk format", () => ImageProbe.Parse("vmdk"));
        Assert.Equal([_folder["a"]], Directory.GetFiles(_folder.Path));
    }

    public void Dispose() => _folder.Dispose();

    private static void Says(string expected, Action action) =>
        Assert.Contains(expected, Assert.Throws<DiskImageException>(action).Message, StringComparison.Ordinal);

    private static void Patch(string path, int offset, int value)
    {
        byte[] bytes = File.ReadAllBytes(path);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(offset), value);
        File.WriteAllBytes(path, bytes);
    }

    private static void Refused(string expected, string path)
    {
        string message = Assert.Throws<DiskImageException>(() => DiskImage.Open(path)).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    /// <summary>An image with a backing file that need not be there; the format of it is not recorded.</summary>
    private void Create(string name, string backing)
    {
        using HostFile file = HostFile.CreateUnnamed(_folder.Path, name);
        Qcow2Creator.Write(file, new Qcow2Header { Size = 1 << 20 }, backing, backingFormat: null);
        file.Publish(_folder[name]);
    }
}
