using Vivarium.Storage.Host;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>The host's disk is full: the guest sees an error, and nothing that was there before is lost.</summary>
public sealed class FullDiskTests : IDisposable
{
    private const int Room = 4 << 20;

    private readonly TemporaryFolder _folder = new();
    private bool _isMounted;

    [Theory]
    [InlineData(65536, false)]
    [InlineData(4096, false)]
    [InlineData(4096, true)]
    public void NothingIsLost(int clusterSize, bool lazy)
    {
        Qemu.Require();
        Mount();
        string path = _folder["disk"];
        DiskTool.Create(path, new CreateOptions { Size = 32 << 20, ClusterSize = clusterSize, LazyRefcounts = lazy });
        byte[] block = new byte[65536];
        var written = new List<int>();
        using (DiskImage image = DiskImage.Open(path))
        {
            IOException? full = null;
            for (int at = 0; full is null; at += block.Length)
            {
                block.AsSpan().Fill((byte)(1 + (at >> 16)));
                full = Fails(() => image.Write(at, block.AsSpan()));
                if (full is null)
                {
                    written.Add(at);
                }
            }

            Assert.Contains(path, full.Message, StringComparison.Ordinal);
            Assert.Contains("No space left", full.Message, StringComparison.Ordinal);
            Verify(image, written);

            // The metadata has no room either; once there is some, all is well.
            Fails(image.Flush);
            image.WriteZeroes(0, 8 * block.Length, mayUnmap: true);
            written.RemoveAll(at => at < 8 * block.Length);
            File.Delete(_folder["ballast"]);
            image.Flush();
            for (int at = 0; at < 4 * block.Length; at += block.Length)
            {
                block.AsSpan().Fill((byte)(1 + (at >> 16)));
                image.Write(at, block.AsSpan());
                written.Add(at);
            }

            image.Flush();
            Verify(image, written);
        }

        Qemu.Check(path);
        using DiskImage again = DiskImage.Open(path);
        Verify(again, written);
    }

    [Fact]
    public void AConversionThatDoesNotFitLeavesNothing()
    {
        Mount();
        using var outside = new TemporaryFolder();
        Contents.WriteMixed(outside["big"], 16 << 20, seed: 1);
        Assert.Contains("No space left", Assert.Throws<IOException>(() => DiskTool.Convert(outside["big"], _folder["copy"], new ConvertOptions(), cancellation: TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["copy"]));
    }

    [Fact]
    public void AFileWithAHiddenNameIsRemovedOrPublished()
    {
        using (HostFile file = HostFile.CreateHidden(_folder.Path, "it"))
        {
            Assert.Single(Directory.GetFiles(_folder.Path));
        }

        Assert.Empty(Directory.GetFiles(_folder.Path));
        using (HostFile file = HostFile.CreateHidden(_folder.Path, "it"))
        {
            file.Write(0, [1, 2, 3]);
            file.Publish(_folder["it"]);
        }

        Assert.Equal([_folder["it"]], Directory.GetFiles(_folder.Path));
    }

    public void Dispose()
    {
        if (_isMounted)
        {
            Qemu.Run("umount", [_folder.Path]);
        }

        _folder.Dispose();
    }

    private static IOException? Fails(Action action)
    {
        try
        {
            action();
            return null;
        }
        catch (IOException e)
        {
            return e;
        }
    }

    private static void Verify(DiskImage image, List<int> written)
    {
        byte[] block = new byte[65536];
        foreach (int at in written)
        {
            image.Read(at, block.AsSpan());
            Assert.False(block.AsSpan().ContainsAnyExcept((byte)(1 + (at >> 16))), $"lost at {at}");
        }
    }

    private void Mount()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root may mount a small file system");
        (int status, string output) = Qemu.Run("mount", ["-t", "tmpfs", "-o", $"size={Room}", "none", _folder.Path]);
        Assert.SkipUnless(status == 0, $"this host lets root mount no tmpfs: {output}");
        _isMounted = true;
        File.WriteAllBytes(_folder["ballast"], new byte[1 << 20]);
    }
}
