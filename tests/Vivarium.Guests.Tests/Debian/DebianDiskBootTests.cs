using System.Security.Cryptography;
using Vivarium.Cli.Guests;
using Vivarium.Guests.Tests.Firmware;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>A PC switched on: firmware, GRUB from its disk, Debian; with disks of the other kinds beside it.</summary>
public sealed class DebianDiskBootTests(DebianDisk disk) : IClassFixture<DebianDisk>
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(280);

    [Theory]
    [InlineData("bios", DiskBus.Ide, "sd")]
    [InlineData("uefi", DiskBus.Ahci, "sd")]
    [InlineData("uefi", DiskBus.Nvme, "nvme")]
    public async Task Debian_boots_by_grub_from_its_own_disk(string firmware, DiskBus bus, string device)
    {
        LongTests.SkipUnlessWanted("making a second Debian root and booting it three times takes many minutes");
        using var scratch = new Scratch();
        byte[] content = new byte[5 << 20];
        new Random(407).NextBytes(content);
        string file = scratch.Write("data.bin", content);
        DiskBus[] others = [.. new[] { DiskBus.Ide, DiskBus.Ahci, DiskBus.Nvme }.Where(other => other != bus)];
        await using var machine = new LibraryMachine(new MachineSpec
        {
            Virtualization = Virtualization.Full,
            Firmware = firmware == "bios" ? new FirmwareSpec { Path = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin") } : UefiTests.Ovmf(null),
            Memory = 512 * ByteSize.MiB,
            Disks =
            [
                new DiskSpec { Path = disk.Path, Format = Storage.ImageFormat.Raw, Overlay = true, Bus = bus },
                .. others.Select(other => new DiskSpec { Path = DataDisk(scratch, other, file), Format = Storage.ImageFormat.Raw, Bus = other, Serial = $"DATA{other}" }),
            ],
        });
        var shell = new DebianShell(machine, DebianDisk.Boot);
        shell.LogIn();
        Assert.Matches($@"^BOOT_IMAGE=/boot/vmlinuz.* loaded_by=grub-{(firmware == "bios" ? "pc" : "efi")}$", shell.Answer("cat /proc/cmdline"));
        Assert.Equal(firmware == "bios" ? "no" : "yes", shell.Answer("[ -d /sys/firmware/efi ] && echo yes || echo no"));
        Assert.Matches($"^/dev/{device}.*2$", shell.Answer("findmnt -n -o SOURCE /"));
        foreach (DiskBus other in others)
        {
            string partition = shell.Answer($"ls /dev/disk/by-id/*DATA{other}*-part1 | head -n 1");
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(content)), shell.Answer($"modprobe vfat; mount {partition} /mnt && sha256sum </mnt/data.bin").Split(' ')[0]);
            _ = shell.Answer("cp /mnt/data.bin /mnt/copy.bin && umount /mnt");
        }

        shell.CheckHealth();
        machine.Send("poweroff\n");
        MachineExit exit = await machine.Machine.WaitAsync(TestContext.Current.CancellationToken).WaitAsync(s_patience, TestContext.Current.CancellationToken);
        Assert.Equal(ExitKind.PoweredOff, exit.Kind);
        await machine.DisposeAsync();
        foreach (DiskBus other in others)
        {
            string copy = Path.Combine(scratch.Folder, $"{other}.copy");
            _ = HostTool.Must("mcopy", "-i", $"{DataDiskPath(scratch, other)}@@1M", "::copy.bin", copy);
            Assert.Equal(content, File.ReadAllBytes(copy));
        }
    }

    /// <summary>A disk with one partition, which has a FAT file system and a file in it.</summary>
    private static string DataDisk(Scratch scratch, DiskBus bus, string file)
    {
        const int mebibytes = 32;
        HostTool.Need(("mformat", "mtools"), ("mcopy", "mtools"));
        string path = DataDiskPath(scratch, bus);
        byte[] image = new byte[mebibytes << 20];
        DebianDisk.WritePartitions(image.AsSpan(0, 512), (DebianDisk.FatType, 1, mebibytes - 1));
        File.WriteAllBytes(path, image);
        _ = HostTool.Must("mformat", "-i", $"{path}@@1M", "-T", $"{(mebibytes - 1) << 11}", "::");
        _ = HostTool.Must("mcopy", "-i", $"{path}@@1M", file, "::data.bin");
        return path;
    }

    private static string DataDiskPath(Scratch scratch, DiskBus bus) => Path.Combine(scratch.Folder, $"{bus}.raw");
}
