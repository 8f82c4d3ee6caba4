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
    [InlineData("6.1.", "", "UDMA/33")]
    [InlineData("6.12.", "", "UDMA/33")]
    [InlineData("6.1.", "libata.dma=0", "PIO4")]
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
            Assert.Matches("^/dev/sda / ext4 ro", Answer(viv, "grep ' / ' /proc/mounts"));
            Assert.Contains("ata_piix", Answer(viv, "readlink /sys/block/sda/device/../../../../driver"));
            string log = Answer(viv, "dmesg");
            Assert.Contains($"ata1.00: configured for {mode}", log);
            Assert.DoesNotMatch("(exception Emask|failed command|lost interrupt|frozen)", log);
            Assert.Equal($"{content.Length / 512}", Answer(viv, "cat /sys/block/sdb/size"));
            Assert.Equal(Hash(content), Answer(viv, "sha256sum /dev/sdb").Split(' ')[0]);

            // The third disk is the secondary master.
            Assert.Equal("", Answer(viv, $"dd if=/dev/sdb of=/dev/sdc bs=64k count=16 conv=fsync status=none; cmp -n {1 << 20} /dev/sdb /dev/sdc"));
            Assert.DoesNotMatch("(exception Emask|failed command|lost interrupt|frozen)", Answer(viv, "dmesg"));
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
        return viv.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?$", s_commandPatience).Groups[1].Value.Replace("\r", "").Trim();
    }
}
