using System.Text.Json;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary><c>viv disk</c> as a user types it.</summary>
public sealed class DiskVerbTests : IDisposable
{
    private readonly Scratch _scratch = new();

    private string Folder => _scratch.Folder;

    [Fact]
    public void A_disk_is_made_described_copied_resized_and_checked()
    {
        string disk = Path.Combine(Folder, "web.qcow2");
        Succeeds("disk", "create", disk, "20M");
        using (JsonDocument info = JsonDocument.Parse(Succeeds("disk", "info", disk, "--json")))
        {
            Assert.Equal(20 << 20, info.RootElement.GetProperty("size").GetInt64());
            Assert.Equal("qcow2", info.RootElement.GetProperty("format").GetString());
        }

        string top = Path.Combine(Folder, "top.qcow2");
        Succeeds("disk", "create", top, "--backing", disk, "--lazy-refcounts", "--cluster-size", "4K");
        Assert.Contains("web.qcow2 (qcow2)", Succeeds("disk", "info", top), StringComparison.Ordinal);
        Assert.Contains("20M to 30M", Succeeds("disk", "resize", disk, "+10M"), StringComparison.Ordinal);
        Succeeds("disk", "convert", disk, Path.Combine(Folder, "plain.img"), "--format", "raw");
        Assert.Equal(30 << 20, new FileInfo(Path.Combine(Folder, "plain.img")).Length);
        Succeeds("disk", "convert", disk, Path.Combine(Folder, "small.qcow2"), "-c", "--compression", "zstd");
        Assert.Contains("sound", Succeeds("disk", "check", disk), StringComparison.Ordinal);
        using JsonDocument check = JsonDocument.Parse(Succeeds("disk", "check", disk, "--json", "--repair"));
        Assert.Equal(0, check.RootElement.GetProperty("corruptions").GetInt64());
    }

    [Theory]
    [InlineData("say what to do with disks", "disk")]
    [InlineData("there is no disk image", "disk", "info", "/no/such/disk")]
    [InlineData("is no size", "disk", "create", "/no/such/disk", "lots")]
    [InlineData("no disk format", "disk", "create", "/no/such/disk", "1G", "--format", "vmdk")]
    [InlineData("no compression", "disk", "create", "/no/such/disk", "1G", "--compression", "lzma")]
    [InlineData("power of two", "disk", "create", "/no/such/disk", "1G", "--cluster-size", "3K")]
    [InlineData("does not exist", "disk", "create", "/no/such/disk", "1G")]
    [InlineData("unknown option '--fly'", "disk", "check", "x", "--fly")]
    public void Mistakes_are_explained(string explanation, params string[] words)
    {
        (int status, string output, string errors) = VivProcess.Run(words);
        Assert.Equal((2, ""), (status, output));
        Assert.Contains(explanation, errors, StringComparison.Ordinal);
        Assert.Single(errors.TrimEnd().Split('\n'));
    }

    [Fact]
    public void Help_teaches_by_examples() =>
        Assert.Contains("viv disk create web.qcow2 20G", Succeeds("disk", "create", "--help"), StringComparison.Ordinal);

    public void Dispose() => _scratch.Dispose();

    private static string Succeeds(params string[] words)
    {
        (int status, string output, string errors) = VivProcess.Run(words);
        Assert.True(status == 0, $"viv {string.Join(' ', words)}: status {status}: {errors}");
        return output;
    }
}
