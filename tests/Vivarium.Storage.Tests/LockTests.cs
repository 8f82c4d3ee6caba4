using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Tests;

/// <summary>Who may use an image at the same time, among ourselves and with QEMU's tools.</summary>
public sealed class LockTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public LockTests()
    {
        Qemu.Require();
        DiskTool.Create(_folder["disk"], new CreateOptions { Size = 1 << 20 });
    }

    [Fact]
    public void OneWriterOrManyReaders()
    {
        using (Open(readOnly: false))
        {
            Refused(readOnly: false);
            Refused(readOnly: true);
        }

        using (Open(readOnly: true))
        using (Open(readOnly: true))
        {
            Refused(readOnly: false);
        }

        Open(readOnly: false).Dispose();
    }

    [Fact]
    public void QemuIsRefused()
    {
        using (Open(readOnly: false))
        {
            Assert.Contains("lock", Qemu.TryIo(_folder["disk"], "write 0 4k").Output, StringComparison.Ordinal);
            Assert.NotEqual(0, Qemu.Run("qemu-img", ["check", _folder["disk"]]).Status);
        }

        using (Open(readOnly: true))
        {
            Assert.Contains("lock", Qemu.TryIo(_folder["disk"], "write 0 4k").Output, StringComparison.Ordinal);
            Qemu.Check(_folder["disk"]);
        }

        Qemu.Io(_folder["disk"], "write -q 0 4k");
    }

    [Fact]
    public void QemuRefuses()
    {
        using var qemu = new System.Diagnostics.Process();
        qemu.StartInfo = new System.Diagnostics.ProcessStartInfo("qemu-io", [_folder["disk"]]) { RedirectStandardInput = true, RedirectStandardOutput = true };
        qemu.Start();
        qemu.StandardInput.WriteLine("read 0 512");
        qemu.StandardInput.Flush();
        while (qemu.StandardOutput.ReadLine() is { } line && !line.Contains("read 512", StringComparison.Ordinal))
        {
        }

        Refused(readOnly: false);
        Refused(readOnly: true);
        qemu.StandardInput.WriteLine("quit");
        qemu.WaitForExit();
        Open(readOnly: false).Dispose();
    }

    [Fact]
    public void ABackingFileIsShared()
    {
        DiskTool.Create(_folder["one"], new CreateOptions { BackingFile = _folder["disk"] });
        DiskTool.Create(_folder["two"], new CreateOptions { BackingFile = _folder["disk"] });
        using DiskImage one = DiskImage.Open(_folder["one"]);
        using DiskImage two = DiskImage.Open(_folder["two"]);
        using DiskImage overlay = DiskImage.Open(_folder["disk"], new DiskImageOptions { Overlay = true });
        Refused(readOnly: false);
        Assert.Contains("lock", Qemu.TryIo(_folder["disk"], "write 0 4k").Output, StringComparison.Ordinal);
    }

    public void Dispose() => _folder.Dispose();

    private DiskImage Open(bool readOnly) => DiskImage.Open(_folder["disk"], new DiskImageOptions { ReadOnly = readOnly });

    private void Refused(bool readOnly)
    {
        string message = Assert.Throws<DiskImageException>(() => Open(readOnly)).Message;
        Assert.Contains("another process", message, StringComparison.Ordinal);
        Assert.Contains(_folder["disk"], message, StringComparison.Ordinal);
    }
}
