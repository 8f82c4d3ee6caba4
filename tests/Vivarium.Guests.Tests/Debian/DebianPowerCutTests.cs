using System.Globalization;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// viv is killed while the guest (Linux 6.1, virtio over PCI, packed rings) writes to a qcow2: nothing in the image is corrupt, a
/// repair gives back what space it lost, and what the guest had synced is in it.
/// </summary>
public sealed class DebianPowerCutTests
{
    private const int SyncedFiles = 40;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    [Fact]
    public void What_was_synced_survives_a_kill()
    {
        HostTool.Need(("qemu-img", "qemu-utils"), ("e2fsck", "e2fsprogs"));
        using var scratch = new Scratch();
        BootSet boot = TestGuests.Debian("6.1.");
        string data = Path.Combine(scratch.Folder, "data.qcow2");
        _ = HostTool.Must("qemu-img", "create", "-q", "-f", "qcow2", data, "2G");
        using VivProcess viv = VivProcess.Start(
            "run", "--kernel", boot.Kernel, "--initrd", boot.Initrd!, "--append", boot.CommandLine, "--memory", "1G", "--timeout", "600s",
            "--virtio", "pci,packed", "--net", "none", "--disk", $"{boot.Disk},format=raw,overlay", "--disk", $"{data},format=qcow2");
        var shell = new DebianShell(viv, boot);
        shell.LogIn();
        Assert.Equal("1", PackedRings.Bit(shell, "vdb"));
        _ = shell.Answer("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && sync");

        // Each file tells its number all over; its synced end is told on the console.
        viv.Send("i=0; while :; do i=$((i + 1)); yes $i | head -c $((50000 + i * 101)) | dd of=/mnt/f$i conv=fsync status=none; sync /mnt; echo syn''ced $i; done\n");
        int last = 0;
        while (last < SyncedFiles)
        {
            last = int.Parse(viv.Expect(@"^synced (\d+)\r?$", s_patience).Groups[1].Value, CultureInfo.InvariantCulture);
        }

        viv.Kill();
        last = Regex.Matches(viv.Output, @"^synced (\d+)\r?$", RegexOptions.Multiline).Select(match => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)).Max();

        // Clusters are counted before they are used, so what a kill leaves between the two is lost space (status 3) and no worse.
        (int status, string said) = HostTool.Run("qemu-img", "check", "-f", "qcow2", data);
        Assert.True(status is 0 or 3, $"status {status}: {said}");
        (int repairStatus, string repaired, string complaint) = VivProcess.Run("disk", "check", "--repair", data);
        Assert.True(repairStatus == 0, $"{repaired}{complaint}");
        _ = HostTool.Must("qemu-img", "check", "-f", "qcow2", data);
        string flat = Path.Combine(scratch.Folder, "flat.raw");
        _ = HostTool.Must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", data, flat);
        // The journal is replayed first, as at the next mount; nothing else may need repair.
        (status, said) = HostTool.Run("e2fsck", "-p", flat);
        Assert.True(status is 0 or 1, said);
        _ = HostTool.Must("e2fsck", "-fn", flat);
        for (int number = 1; number <= last; number++)
        {
            string file = Path.Combine(scratch.Folder, "file");
            _ = HostTool.Must("debugfs", "-R", $"dump /f{number} {file}", flat);
            Assert.Equal(Expected(number), File.ReadAllText(file));
        }
    }

    private static string Expected(int number)
    {
        int length = 50000 + (number * 101);
        string line = $"{number}\n";
        return string.Concat(Enumerable.Repeat(line, (length / line.Length) + 1))[..length];
    }
}
