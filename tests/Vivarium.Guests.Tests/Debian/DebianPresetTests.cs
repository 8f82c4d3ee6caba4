using Vivarium.Cli.Guests;
using Vivarium.Storage;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>The same Debian root on both kinds of machine, and what systemd takes them for.</summary>
public sealed class DebianPresetTests
{
    [Theory]
    [InlineData(Virtualization.Para, "6.1.", 4, "kvm", "/dev/vda", "vivarium-root")]
    [InlineData(Virtualization.Full, "6.12.", 1, "none", "/dev/sda", "HARDDISK")]
    public async Task It_starts_from_the_presets_disk_and_finds_what_the_preset_shows(Virtualization virtualization, string kernel, int cpus, string detected, string root, string model)
    {
        BootSet boot = TestGuests.Debian(kernel);
        await using var machine = new LibraryMachine(new MachineSpec
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = virtualization == Virtualization.Full ? $"{boot.CommandLine} {LinuxCommandLine.ForFull}" : boot.CommandLine,
            Memory = 1UL << 30,
            Cpus = cpus,
            Virtualization = virtualization,
            Disks = [new DiskSpec { Path = boot.Disk!, Format = ImageFormat.Raw, Overlay = true, Serial = "vivarium-root" }],
            Timeout = TimeSpan.FromMinutes(10),
        });
        var shell = new DebianShell(machine, boot);
        shell.LogIn();
        shell.CheckHealth();
        Assert.Equal($"{cpus}", shell.Answer("nproc"));
        Assert.Equal(detected, shell.Try("systemd-detect-virt").Said);
        Assert.Equal(root, shell.Answer("findmnt -no SOURCE /"));
        Assert.Contains(model, shell.Answer("ls /dev/disk/by-id"));
        Assert.Equal(virtualization == Virtualization.Para, shell.Answer("cat /sys/bus/pci/devices/*/vendor").Contains("0x1af4", StringComparison.Ordinal));
        Assert.Equal(virtualization == Virtualization.Para, shell.Try("grep -qr Vivarium /sys/class/dmi/id/").Status == 0);
        CheckThatTheInitrdWaitsForUdev(shell);
    }

    /// <summary>
    /// Otherwise one boot in some 170 ends in a panic. (In each boot udevd and its processes are still there when the script begins, and
    /// end in the next 50 ms.)
    /// </summary>
    private static void CheckThatTheInitrdWaitsForUdev(DebianShell shell)
    {
        const string order = "/tmp/initrd/scripts/init-bottom/ORDER";
        string scripts = shell.Answer($"unmkinitramfs /boot/initrd.img-$(uname -r) /tmp/initrd && grep -o '^/scripts/[^ ]*' {order}");
        Assert.Equal(["/scripts/init-bottom/udev", "/scripts/init-bottom/await-end"], scripts.Split('\n'));
    }
}
