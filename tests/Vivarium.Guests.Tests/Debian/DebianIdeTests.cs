using System.Security.Cryptography;
using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>Debian's kernels with nothing but IDE disks: the driver that they come with finds the root and moves data, by DMA and by PIO.</summary>
public sealed class DebianIdeTests
{
    private const int Mebibytes = 8;
    private static readonly TimeSpan s_bootPatience = TimeSpan.FromSeconds(120);
    private static readonly TimeSpan s_commandPatience = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData("6.12.", "", "XFER_UDMA_2")]
    [InlineData("6.1.", "libata.dma=0", "XFER_PIO_4")]
    public void Debian_mounts_its_root_from_ide_and_keeps_what_it_writes(string kernel, string append, string mode)
    {
        using var scratch = new Scratch();
        string data = Path.Combine(scratch.Folder, "data.raw"), last = Path.Combine(scratch.Folder, "last.raw");
        byte[] content = new byte[Mebibytes << 20];
        new Random(815).NextBytes(content);
        File.WriteAllBytes(data, content);
        File.WriteAllBytes(last, new byte[1 << 20]);
        BootSet boot = TestGuests.Debian(kernel);
        using (VivProcess viv = VivProcess.Start(
        [
            "run", "--kernel", boot.Kernel, "--initrd", boot.Initrd!, "--append", $"{boot.CommandLine} init=/bin/sh {append}", "--net", "none", "--timeout", "300s",
            "--disk", $"{boot.Disk},format=raw,overlay,bus=ide", "--disk", $"{data},format=raw,bus=ide,serial=data", "--disk", $"{last},format=raw,bus=ide",
        ]))
        {
            viv.Expect(@"# $", s_bootPatience);
            Assert.Matches("^/dev/sd. / ext4 ro", Answer(viv, "grep ' / ' /proc/mounts"));
            Assert.Contains("0000:00:01.1", Answer(viv, "ls /sys/bus/pci/drivers/ata_piix"));
            Assert.Equal(mode, Answer(viv, "cat /sys/class/ata_device/dev1.0/xfer_mode"));

            // Linux looks at both channels at once, and which is first has the first names.
            Assert.Equal("", Answer(viv, $"sized() {{ for disk in sd?; do [ $(cat $disk/size) = $1 ] && echo $disk; done; }}; cd /sys/block; data=/dev/$(sized {content.Length / 512}) last=/dev/$(sized 2048)"));
            Assert.Equal(Hash(content), Answer(viv, "sha256sum $data").Split(' ')[0]);
            Assert.Equal("", Answer(viv, $"dd if=$data of=$last bs=64k count=16 conv=fsync status=none; cmp -n {1 << 20} $data $last"));
            Assert.Equal("", Answer(viv, "dmesg | grep -E 'exception Emask|failed command|lost interrupt|frozen|BUG|Call Trace'"));
            viv.Send("echo o >/proc/sysrq-trigger\n");
            Assert.Equal(0, viv.WaitForExit(s_commandPatience));
        }

        Assert.Equal(content.AsSpan(0, 1 << 20).ToArray(), File.ReadAllBytes(last));
        Assert.Equal(content, File.ReadAllBytes(data));
    }

    private static string Hash(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));

    private static string Answer(VivProcess viv, string command)
    {
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        viv.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return viv.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?\n# $", s_commandPatience).Groups[1].Value.Replace("\r", "").Trim();
    }
}
