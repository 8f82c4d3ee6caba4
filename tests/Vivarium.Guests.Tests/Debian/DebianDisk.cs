using System.Buffers.Binary;
using System.Text;
using Vivarium.Cli.Guests;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>
/// A disk as an installation makes it: Debian's root with the kernel for PCs in one partition, an EFI system partition, and GRUB as packaged
/// for both kinds of firmware. Made when it is first asked for, and thrown away at the end.
/// </summary>
public sealed class DebianDisk : IDisposable
{
    /// <summary>The type of a partition with a FAT16 file system.</summary>
    public const byte FatType = 0x0E;

    private const int Mebibyte = 1 << 20;
    private const int SectorLength = 512;
    private const int EspStart = 1;
    private const int EspLength = 33;
    private const int RootStart = EspStart + EspLength;
    private const byte EspType = 0xEF;
    private const byte LinuxType = 0x83;

    /// <summary>What GRUB's first stage reads its configuration with, without modules from the disk.</summary>
    private static readonly string[] s_modules = ["biosdisk", "part_msdos", "fat", "ext2", "normal", "linux", "search", "search_label", "echo", "boot"];

    private static readonly FirmwareFiles s_grubBios = new("grub-pc-bin", "usr/lib/grub/i386-pc");
    private static readonly FirmwareFiles s_grubUefi = new("grub-efi-amd64-bin", "usr/lib/grub/x86_64-efi/monolithic");
    private static readonly FirmwareFiles s_grubTools = new("grub-common", "usr/bin");

    private readonly Scratch _scratch = new();
    private readonly Lazy<string> _path;

    public DebianDisk() => _path = new(Make);

    public string Path => _path.Value;

    internal static BootSet Boot => TestGuests.DebianFull();

    public void Dispose() => _scratch.Dispose();

    /// <summary>A table of partitions in the first sector of a disk (UEFI 2.10, 5.2.1).</summary>
    /// <param name="partitions">Type, and first and number of mebibytes.</param>
    public static void WritePartitions(Span<byte> sector, params ReadOnlySpan<(byte Type, int Start, int Length)> partitions)
    {
        const int table = 446, entry = 16;

        // Boot programs have code for floppy disks there.
        sector[table..].Clear();
        for (int i = 0; i < partitions.Length; i++)
        {
            Span<byte> at = sector.Slice(table + i * entry, entry);
            at[1..4].Fill(0xFF);
            at[4] = partitions[i].Type;
            at[5..8].Fill(0xFF);
            BinaryPrimitives.WriteInt32LittleEndian(at[8..], partitions[i].Start * (Mebibyte / SectorLength));
            BinaryPrimitives.WriteInt32LittleEndian(at[12..], partitions[i].Length * (Mebibyte / SectorLength));
        }

        sector[510] = 0x55;
        sector[511] = 0xAA;
    }

    private string Make()
    {
        HostTool.Need(("mformat", "mtools"), ("mcopy", "mtools"), ("mmd", "mtools"), ("dd", "coreutils"));
        string disk = System.IO.Path.Combine(_scratch.Folder, "disk.raw");
        int rootLength = (int)(new FileInfo(Boot.Disk!).Length / Mebibyte);
        using (FileStream image = File.Create(disk))
        {
            image.SetLength((long)(RootStart + rootLength) * Mebibyte);
            byte[] bootSector = File.ReadAllBytes(s_grubBios.Obtain(GuestCache.Default, "boot.img"));
            WritePartitions(bootSector, (EspType, EspStart, EspLength), (LinuxType, RootStart, rootLength));
            image.Write(bootSector);

            // As boot.img expects it where nobody has told it otherwise: from the next sector on.
            image.Write(File.ReadAllBytes(CoreImage()));
            Xunit.Assert.InRange(image.Position, 0, EspStart * Mebibyte);
        }

        string esp = $"{disk}@@{EspStart}M";
        _ = HostTool.Must("mformat", "-i", esp, "-T", $"{EspLength * (Mebibyte / SectorLength)}", "-F", "::");
        _ = HostTool.Must("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT", "::/EFI/debian");
        _ = HostTool.Must("mcopy", "-i", esp, s_grubUefi.Obtain(GuestCache.Default, "grubx64.efi"), "::/EFI/BOOT/BOOTX64.EFI");
        _ = HostTool.Must("mcopy", "-i", esp, _scratch.Write("grub.cfg", Encoding.ASCII.GetBytes(Configuration())), "::/EFI/debian/grub.cfg");
        _ = HostTool.Must("dd", $"if={Boot.Disk}", $"of={disk}", "bs=1M", $"seek={RootStart}", "conv=sparse,notrunc", "status=none");
        return disk;
    }

    private string CoreImage()
    {
        string core = System.IO.Path.Combine(_scratch.Folder, "core.img");
        string modules = System.IO.Path.GetDirectoryName(s_grubBios.Obtain(GuestCache.Default, "boot.img"))!;
        _ = HostTool.Must(s_grubTools.Obtain(GuestCache.Default, "grub-mkimage"), ["-d", modules, "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/EFI/debian", .. s_modules]);
        return core;
    }

    /// <summary>The kernel learns who has loaded it.</summary>
    private static string Configuration() => $"""
        set timeout=0
        search --no-floppy --label debian --set=root
        linux /boot/{System.IO.Path.GetFileName(Boot.Kernel)} {Boot.CommandLine} loaded_by=grub-$grub_platform
        initrd /boot/{System.IO.Path.GetFileName(Boot.Initrd)}
        boot

        """;
}
