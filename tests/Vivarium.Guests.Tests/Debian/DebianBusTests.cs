using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>Debian's kernel for PCs, its root on each kind of disk that is not virtio, with a CD and a floppy beside it.</summary>
public sealed class DebianBusTests
{
    private static readonly TimeSpan s_bootPatience = TimeSpan.FromSeconds(280);
    private static readonly TimeSpan s_commandPatience = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData("ide", "ide", "ata_piix")]
    [InlineData("ahci", "ahci", "ahci")]
    [InlineData("nvme", "ide", "nvme")]
    public void Debian_boots_from_it_and_reads_and_writes_media(string bus, string cdBus, string driver)
    {
        LongTests.SkipUnlessWanted("making a second Debian root and booting it three times takes many minutes");
        HostTool.Need(("xorriso", "xorriso"), ("mformat", "mtools"), ("mcopy", "mtools"));
        using var scratch = new Scratch();
        string file = scratch.Write("hello.txt", "from the host\n"u8.ToArray());
        string iso = Path.Combine(scratch.Folder, "cd.iso"), floppy = Path.Combine(scratch.Folder, "a.img");
        _ = HostTool.Must("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "CD", "-o", iso, file);
        _ = HostTool.Must("mformat", "-C", "-f", "1440", "-i", floppy, "::");
        _ = HostTool.Must("mcopy", "-i", floppy, file, "::");
        BootSet boot = TestGuests.DebianFull();
        GuestLogin login = boot.Logins[0];
        using VivProcess viv = VivProcess.Start(
        [
            "run", "--kernel", boot.Kernel, "--initrd", boot.Initrd!, "--append", boot.CommandLine, "--memory", "512M", "--net", "none", "--timeout", "500s",
            "--disk", $"{boot.Disk},format=raw,overlay,bus={bus}", "--cdrom", $"{iso},bus={cdBus}", "--floppy", floppy,
        ]);
        viv.Expect("login: $", s_bootPatience);
        viv.Send($"{login.User}\n");
        viv.Expect("assword: $", s_commandPatience);
        viv.Send($"{login.Password}\n");
        viv.Expect("# $", s_commandPatience);
        Assert.Contains("0000:00:", Answer(viv, $"ls /sys/bus/pci/drivers/{driver}"), StringComparison.Ordinal);
        Assert.Contains($"/dev/{(bus == "nvme" ? "nvme0n1" : "sd")}", Answer(viv, "findmnt -n -o SOURCE /"), StringComparison.Ordinal);
        Assert.Equal("from the host", Answer(viv, "modprobe sr_mod isofs; mount -o ro /dev/sr0 /mnt && cat /mnt/hello.txt; umount /mnt"));
        Assert.Equal("from the host", Answer(viv, "modprobe -a floppy vfat; mount /dev/fd0 /mnt && cat /mnt/hello.txt && echo from the guest >/mnt/guest.txt; umount /mnt"));
        Assert.Equal("", Answer(viv, "dmesg | grep -E 'exception Emask|failed command|lost interrupt|frozen|I/O error|nvme.*timeout|BUG|Call Trace'"));
        viv.Send("poweroff\n");
        Assert.Equal(0, viv.WaitForExit(s_bootPatience));
        Assert.Equal("from the guest\n", HostTool.Must("mtype", "-i", floppy, "::guest.txt"));
    }

    private static string Answer(VivProcess viv, string command)
    {
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        viv.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return viv.Expect(@"BEGIN\r?\n([^\x00]*?)END\r?\n", s_commandPatience).Groups[1].Value.Replace("\r", "", StringComparison.Ordinal).Trim();
    }
}
