using Vivarium.Cli.Guests;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>CDs as people make them by hand, with xorriso.</summary>
internal static class BootCd
{
    private static readonly FirmwareFiles s_isolinux = new("isolinux", "usr/lib/ISOLINUX");
    private static readonly FirmwareFiles s_modules = new("syslinux-common", "usr/lib/syslinux/modules/bios");

    /// <summary>A CD on which isolinux starts a kernel at once, without floppy emulation (El Torito 1.0).</summary>
    public static string WithKernel(Scratch scratch, string kernel, string? initrd, string commandLine)
    {
        string tree = NewTree(scratch);
        File.Copy(s_isolinux.Obtain(GuestCache.Default, "isolinux.bin"), Path.Combine(tree, "isolinux.bin"));
        File.Copy(s_modules.Obtain(GuestCache.Default, "ldlinux.c32"), Path.Combine(tree, "ldlinux.c32"));
        File.Copy(kernel, Path.Combine(tree, "linux"));
        if (initrd is not null)
        {
            File.Copy(initrd, Path.Combine(tree, "initrd.gz"));
            commandLine = $"initrd=/initrd.gz {commandLine}";
        }

        File.WriteAllText(Path.Combine(tree, "isolinux.cfg"), $"default it\nlabel it\n kernel /linux\n append {commandLine}\n");
        return Make(scratch, tree, "-b", "isolinux.bin", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table");
    }

    /// <summary>A CD that looks like a floppy disk of 1.44 MB to what boots from it.</summary>
    public static string WithFloppy(Scratch scratch, string image)
    {
        const int length = 2880 * 512;
        string tree = NewTree(scratch);
        byte[] floppy = new byte[length];
        File.ReadAllBytes(image).CopyTo(floppy, 0);
        File.WriteAllBytes(Path.Combine(tree, "floppy.img"), floppy);
        return Make(scratch, tree, "-b", "floppy.img");
    }

    private static string NewTree(Scratch scratch) => Directory.CreateDirectory(Path.Combine(scratch.Folder, Guid.NewGuid().ToString())).FullName;

    private static string Make(Scratch scratch, string tree, params string[] boot)
    {
        HostTool.Need(("xorriso", "xorriso"));
        string cd = Path.Combine(scratch.Folder, $"{Path.GetFileName(tree)}.iso");
        _ = HostTool.Must("xorriso", ["-as", "mkisofs", "-quiet", "-o", cd, "-c", "boot.cat", .. boot, tree]);
        return cd;
    }
}
