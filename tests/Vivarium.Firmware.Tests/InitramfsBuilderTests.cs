using System.IO.Compression;
using System.Text;
using Vivarium.Firmware.Cpio;

namespace Vivarium.Firmware.Tests;

public sealed class InitramfsBuilderTests
{
    [Fact]
    public void Cpio_lists_what_was_added_and_the_parents_that_were_not()
    {
        Tool.Require("cpio", "cpio");
        (int status, string output) = Tool.Run("cpio", "/", Sample(), "-t", "--quiet");
        Assert.Equal(0, status);
        Assert.Equal(["bin", "bin/busybox", "bin/sh", "dev", "dev/console", "etc", "etc/deep", "etc/deep/file", "init"], Lines(output));
    }

    [Fact]
    public void Cpio_sees_types_modes_sizes_devices_and_targets()
    {
        Tool.Require("cpio", "cpio");
        (int status, string output) = Tool.Run("cpio", "/", Sample(), "-tv", "-n", "--quiet");
        Assert.Equal(0, status);
        string[] lines = [.. Lines(output).Select(line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)))];
        Assert.StartsWith("drwxr-xr-x 2 0 0 0 ", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("-rwxr-xr-x 1 0 0 5 ", lines[1], StringComparison.Ordinal);
        Assert.StartsWith("lrwxrwxrwx 1 0 0 7 ", lines[2], StringComparison.Ordinal);
        Assert.EndsWith("bin/sh -> busybox", lines[2], StringComparison.Ordinal);
        Assert.StartsWith("crw------- 1 0 0 5, 1 ", lines[4], StringComparison.Ordinal);
        Assert.StartsWith("-rw-r--r-- 1 0 0 3 ", lines[7], StringComparison.Ordinal);
    }

    [Fact]
    public void Cpio_gives_the_content_back()
    {
        Tool.Require("cpio", "cpio");
        using var folder = new TemporaryFolder();
        byte[] archive = InitramfsBuilder.Build(root =>
        {
            root.File("a", "hello"u8, 0x1A4);
            root.File("sub/b", new MemoryStream([.. Enumerable.Range(0, 200_000).Select(i => (byte)i)]), 200_000, 0x1A4);
        });
        (int status, string output) = Tool.Run("cpio", folder.Path, archive, "-id", "--quiet");
        Assert.True(status == 0, output);
        Assert.Equal("hello", File.ReadAllText(Path.Combine(folder.Path, "a")));
        Assert.Equal(200_000, new FileInfo(Path.Combine(folder.Path, "sub/b")).Length);
    }

    [Fact]
    public void Compression_changes_nothing_inside()
    {
        using var unpacked = new MemoryStream();
        using (var gzip = new GZipStream(new MemoryStream(InitramfsBuilder.Build(Fill, gzip: true)), CompressionMode.Decompress))
        {
            gzip.CopyTo(unpacked);
        }

        Assert.Equal(Sample(), unpacked.ToArray());
    }

    [Fact]
    public void An_entry_is_a_110_byte_header_then_name_then_content_each_padded_to_4()
    {
        byte[] archive = InitramfsBuilder.Build(root => root.File("init", "ab"u8, 0x1ED));
        string text = Encoding.ASCII.GetString(archive);
        Assert.Equal(
            "070701" + "00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000002"
            + "00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\0\0" + "ab\0\0" + "070701",
            text[..126]);
        Assert.Equal(0, archive.Length % 4);
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("a\0b")]
    [InlineData("TRAILER!!!")]
    public void Impossible_names_are_refused(string name) =>
        Assert.Throws<ArgumentException>(() => InitramfsBuilder.Build(root => root.File(name, ""u8, 0)));

    [Fact]
    public void An_entry_is_added_once() => Assert.Throws<ArgumentException>(() => InitramfsBuilder.Build(root =>
    {
        root.Directory("/etc");
        root.Directory("etc/");
    }));

    private static byte[] Sample() => InitramfsBuilder.Build(Fill);

    private static void Fill(InitramfsBuilder root)
    {
        root.Directory("bin");
        root.File("/bin/busybox", "\u007FELF!", 0x1ED);
        root.Symlink("/bin/sh", "busybox");
        root.CharacterDevice("/dev/console", 5, 1, 0x180);
        root.File("etc/deep/file", "x=1", 0x1A4);
        root.File("init", "#!/bin/sh\n", 0x1ED);
    }

    private static string[] Lines(string output) => output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
