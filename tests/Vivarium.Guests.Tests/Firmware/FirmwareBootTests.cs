using Vivarium.Cli.Guests;
using Vivarium.Disks;
using Vivarium.Guests.Tests.Debian;
using Vivarium.Network;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>What other people have made for PCs, started by SeaBIOS from CD and hard disk; its text and keys go over the serial line.</summary>
public sealed class FirmwareBootTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(100);
    private static readonly FirmwareFiles s_grub = new("grub-rescue-pc", "usr/lib/grub-rescue");
    private static readonly FirmwareFiles s_ipxe = new("ipxe", "usr/lib/ipxe");

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task Grub_starts_from_cd_and_answers_keys()
    {
        await using var machine = new LibraryMachine(Pc() with { Cdroms = [Cd(s_grub.Obtain(GuestCache.Default, "grub-rescue-cdrom.iso"))] });
        AskGrub(machine);
    }

    [Fact]
    public async Task Grub_starts_from_a_hard_disk_and_answers_keys()
    {
        await using var machine = new LibraryMachine(Pc() with { Disks = [HardDisk(s_grub.Obtain(GuestCache.Default, "grub-rescue-usb.img"))] });
        AskGrub(machine);
    }

    [Fact]
    public async Task IPxe_starts_from_cd_and_gets_an_address()
    {
        await using var machine = new LibraryMachine(Pc() with
        {
            Cdroms = [Cd(s_ipxe.Obtain(GuestCache.Default, "ipxe.iso"))],
            Networks = [new NetworkSpec { Network = new NetworkOption.User(), Model = NetworkModel.E1000 }],
        });
        machine.Expect("ISOLINUX", s_patience);
        machine.Expect("iPXE initialising devices", s_patience);
        machine.Expect("iPXE 1\\.", s_patience);
        machine.Expect(@"Configuring \(net0 [0-9a-f:]+\)\.+ ok", s_patience);
    }

    /// <summary>Firmware, boot loader, and then a kernel that finds all the board's devices by firmware's tables.</summary>
    [Fact]
    public async Task Linux_starts_by_grub_from_an_ide_disk()
    {
        BootSet linux = TestGuests.Cloud61;
        string disk = FatDisk(("vmlinuz", linux.Kernel), ("initrd", linux.Initrd!));
        await using var machine = new LibraryMachine(Pc() with
        {
            Cpus = 2,
            BootOrder = [BootDevice.Cd],
            Cdroms = [Cd(s_grub.Obtain(GuestCache.Default, "grub-rescue-cdrom.iso"))],
            Disks = [HardDisk(disk)],
        });
        machine.Expect("GNU GRUB", s_patience);
        Type(machine, "c");
        machine.Expect("grub> ", s_patience);
        Type(machine, "linux (hd0)/vmlinuz console=ttyS0\r");
        machine.Expect("grub> ", s_patience);
        Type(machine, "initrd (hd0)/initrd\r");
        machine.Expect("grub> ", s_patience);
        Type(machine, "boot\r");
        machine.Expect("Linux version 6\\.", s_patience);
        machine.Expect("SMBIOS .*present|DMI: ", s_patience);
        machine.Expect("smp: Brought up 1 node, 2 CPUs", s_patience);
        machine.Expect("Welcome to Vivarium", s_patience);
        machine.Expect("# ", s_patience);
        machine.Send("grep -c hypervisor /proc/cpuinfo; cat /proc/interrupts | head -n 20; poweroff -f\n");
        machine.Expect("^0\r?$", s_patience);
        MachineExit exit = await machine.Machine.WaitAsync(TestContext.Current.CancellationToken).WaitAsync(s_patience, TestContext.Current.CancellationToken);
        Assert.Equal(ExitKind.PoweredOff, exit.Kind);
    }

    [Fact]
    public async Task A_disk_without_boot_sector_is_the_firmwares_to_complain_of()
    {
        await using var machine = new LibraryMachine(Pc() with { Disks = [HardDisk(_scratch.Write("empty", new byte[1 << 20]))] });
        machine.Expect("not a bootable disk", s_patience);
        machine.Expect("No bootable device", s_patience);
    }

    [Fact]
    public async Task A_cd_that_ends_too_early_is_the_firmwares_to_complain_of()
    {
        byte[] whole = File.ReadAllBytes(s_grub.Obtain(GuestCache.Default, "grub-rescue-cdrom.iso"));
        await using var machine = new LibraryMachine(Pc() with { Cdroms = [Cd(_scratch.Write("cut.iso", whole.AsSpan(0, 20 * 2048)))] });
        machine.Expect("Could not read from CDROM", s_patience);
        machine.Expect("No bootable device", s_patience);
    }

    [Fact]
    public async Task Grub_resets_the_machine_and_firmware_starts_again()
    {
        await using var machine = new LibraryMachine(Pc() with { Cdroms = [Cd(s_grub.Obtain(GuestCache.Default, "grub-rescue-cdrom.iso"))] });
        machine.Expect("GNU GRUB", s_patience);
        Type(machine, "c");
        machine.Expect("grub> ", s_patience);
        Type(machine, "reboot\r");
        machine.Expect("SeaBIOS \\(version", s_patience);
        machine.Expect("GNU GRUB", s_patience);
    }

    private static void AskGrub(LibraryMachine machine)
    {
        machine.Expect("SeaBIOS \\(version", s_patience);
        machine.Expect("GNU GRUB", s_patience);
        Type(machine, "c");
        machine.Expect("grub> ", s_patience);
        Type(machine, "expr=x; echo answer$expr${expr}y\r");
        machine.Expect("answerxxy", s_patience);
    }

    /// <summary>Slowly enough for SeaBIOS's key buffer of 16, also on a busy host.</summary>
    private static void Type(LibraryMachine machine, string text)
    {
        foreach (char key in text)
        {
            machine.Send(key.ToString());
            Thread.Sleep(100);
        }
    }

    /// <summary>A disk that is one FAT file system.</summary>
    private string FatDisk(params (string Name, string Path)[] files)
    {
        HostTool.Need(("mformat", "mtools"), ("mcopy", "mtools"));
        string disk = _scratch.Write("fat.img", []);
        using (FileStream image = File.OpenWrite(disk))
        {
            image.SetLength(64 << 20);
        }

        HostTool.Must("mformat", "-i", disk, "-F", "::");
        foreach ((string name, string path) in files)
        {
            HostTool.Must("mcopy", "-i", disk, path, "::" + name);
        }

        return disk;
    }

    private static CdromSpec Cd(string path) => new() { Path = path };

    private static DiskSpec HardDisk(string path) => new() { Path = path, Format = Storage.ImageFormat.Raw, Overlay = true };

    private static MachineSpec Pc() => new()
    {
        Virtualization = Virtualization.Full,
        Firmware = new FirmwareSpec { Path = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin") },
        Memory = 256 * ByteSize.MiB,
    };
}
