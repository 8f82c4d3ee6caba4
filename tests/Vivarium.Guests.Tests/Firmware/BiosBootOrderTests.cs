using System.Text;
using Vivarium.Cli.Guests;
using Vivarium.Guests.Tests.Debian;
using Vivarium.Storage;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>SeaBIOS tries what it is told to, in that order: each boot sector says where it is and gives up (INT 18h).</summary>
public sealed class BiosBootOrderTests : IDisposable
{
    private const string Floppy = "Floppy";
    private const string Cd = "Cd";
    private const int SectorLength = 512;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(100);
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>A BIOS boots from one disk only, the first.</summary>
    [Theory]
    [InlineData(new[] { BootDevice.Cd, BootDevice.Disk, BootDevice.Floppy }, new[] { DiskBus.Ide, DiskBus.Ahci, DiskBus.Nvme }, "Cd Ide Floppy")]
    [InlineData(new[] { BootDevice.Disk, BootDevice.Floppy, BootDevice.Cd }, new[] { DiskBus.Nvme, DiskBus.Ide, DiskBus.Ahci }, "Nvme Floppy Cd")]
    [InlineData(new[] { BootDevice.Floppy, BootDevice.Disk, BootDevice.Cd }, new[] { DiskBus.Ahci, DiskBus.Virtio, DiskBus.Ide }, "Floppy Ahci Cd")]
    [InlineData(new[] { BootDevice.Disk }, new[] { DiskBus.Virtio, DiskBus.Nvme, DiskBus.Ahci }, "Virtio")]
    public async Task Media_are_tried_in_the_order_asked_for(BootDevice[] order, DiskBus[] disks, string expected)
    {
        HostTool.Need(("xorriso", "xorriso"));
        string cd = Path.Combine(_scratch.Folder, "cd.iso");
        _ = HostTool.Must("xorriso", "-as", "mkisofs", "-quiet", "-o", cd, "-b", Cd, "-no-emul-boot", "-boot-load-size", "4", Medium(Cd, 4 * SectorLength));
        await using var machine = new LibraryMachine(new MachineSpec
        {
            Virtualization = Virtualization.Full,
            Firmware = new FirmwareSpec { Path = FirmwareFiles.SeaBios.Obtain(GuestCache.Default, "bios-256k.bin") },
            Memory = 64 * ByteSize.MiB,
            BootOrder = order,
            Disks = [.. disks.Select(bus => new DiskSpec { Path = Medium($"{bus}", 1 << 20), Format = ImageFormat.Raw, Bus = bus, ReadOnly = true })],
            Cdroms = [new CdromSpec { Path = cd }],
            Floppies = [new FloppySpec { Path = Medium(Floppy, 1440 << 10), ReadOnly = true }],
        });
        foreach (string name in expected.Split(' '))
        {
            // Anything else that is started here comes too early.
            Assert.Equal(name, machine.Expect(@"started:(\w+);", s_patience).Groups[1].Value);
        }
    }

    /// <summary>A medium that begins with a boot sector.</summary>
    private string Medium(string name, int length)
    {
        byte[] image = new byte[length];
        byte[] code =
        [
            0xFB, // sti
            0x31, 0xC0, // xor ax, ax
            0x8E, 0xD8, // mov ds, ax
            0xBE, 0x18, 0x7C, // mov si, 0x7C18: the text
            0xAC, // next: lodsb
            0x84, 0xC0, // test al, al
            0x74, 0x09, // jz end
            0xB4, 0x0E, // mov ah, 0x0E: teletype
            0xBB, 0x07, 0x00, // mov bx, 7
            0xCD, 0x10, // int 0x10
            0xEB, 0xF2, // jmp next
            0xCD, 0x18, // end: int 0x18
            .. Encoding.ASCII.GetBytes($"started:{name};\r\n\0"),
        ];
        code.CopyTo(image, 0);
        image[SectorLength - 2] = 0x55;
        image[SectorLength - 1] = 0xAA;
        return _scratch.Write(name, image);
    }
}
