using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>Disks and CDs from which UEFI firmware starts a program: it says one line, and that it has failed, whereupon the firmware tries the next.</summary>
internal static class EfiMedia
{
    private const int HeadersLength = 0x200;
    private const int CodeAddress = 0x1000;
    private const string Program = "::/EFI/BOOT/BOOTX64.EFI";

    /// <summary>A disk that is one FAT file system.</summary>
    public static string Disk(Scratch scratch, string line)
    {
        HostTool.Need(("mformat", "mtools"), ("mcopy", "mtools"), ("mmd", "mtools"));
        string image = Path.Combine(scratch.Folder, $"{line}.img");
        string program = scratch.Write($"{line}.efi", Say(line));
        _ = HostTool.Must("mformat", "-C", "-f", "1440", "-i", image, "::");
        _ = HostTool.Must("mmd", "-i", image, "::/EFI", "::/EFI/BOOT");
        _ = HostTool.Must("mcopy", "-i", image, program, Program);
        return image;
    }

    /// <summary>A CD with such a disk as its boot image (El Torito 1.0; UEFI 2.10, 13.3.2.1).</summary>
    public static string Cd(Scratch scratch, string line)
    {
        HostTool.Need(("xorriso", "xorriso"));
        string disk = Disk(scratch, line);
        string iso = Path.Combine(scratch.Folder, $"{line}.iso");
        _ = HostTool.Must("xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-e", Path.GetFileName(disk), "-no-emul-boot", disk);
        return iso;
    }

    /// <summary>A PE32+ file (PE/COFF specification 11) of one section that calls SystemTable->ConOut->OutputString and returns EFI_NOT_FOUND.</summary>
    private static byte[] Say(string line)
    {
        byte[] code =
        [
            0x48, 0x83, 0xEC, 0x28, // sub rsp, 40
            0x48, 0x8B, 0x4A, 0x40, // mov rcx, [rdx+64]: ConOut
            0x48, 0x8D, 0x15, 18, 0, 0, 0, // lea rdx, [rip+18]: the text
            0xFF, 0x51, 0x08, // call [rcx+8]: OutputString
            0x48, 0x83, 0xC4, 0x28, // add rsp, 40
            0x48, 0xB8, 0x0E, 0, 0, 0, 0, 0, 0, 0x80, // mov rax, EFI_NOT_FOUND
            0xC3, // ret
            .. Encoding.Unicode.GetBytes($"{line}\r\n\0"),
        ];
        byte[] file = new byte[HeadersLength + HeadersLength];
        code.CopyTo(file, HeadersLength);

        "MZ"u8.CopyTo(file);
        file[0x3C] = 0x40;
        "PE"u8.CopyTo(file.AsSpan(0x40));
        Span<byte> coff = file.AsSpan(0x44);
        Word(coff, 0, 0x8664);
        Word(coff, 2, 1); // Sections
        Word(coff, 16, 112 + 16 * 8); // The optional header's length
        Word(coff, 18, 0x22); // Executable, any address
        Span<byte> optional = coff[20..];
        Word(optional, 0, 0x20B);
        Dword(optional, 4, HeadersLength); // SizeOfCode
        Dword(optional, 16, CodeAddress); // Entry point
        Dword(optional, 20, CodeAddress); // BaseOfCode
        Dword(optional, 32, 0x1000); // Section alignment
        Dword(optional, 36, 0x200); // File alignment
        Dword(optional, 56, 0x2000); // SizeOfImage
        Dword(optional, 60, HeadersLength);
        Word(optional, 68, 10); // EFI application
        Dword(optional, 108, 16); // Data directories
        Span<byte> section = optional[(112 + 16 * 8)..];
        ".text"u8.CopyTo(section);
        Dword(section, 8, HeadersLength); // Its length
        Dword(section, 12, CodeAddress);
        Dword(section, 16, HeadersLength); // Its length in the file
        Dword(section, 20, HeadersLength); // Its place there
        Dword(section, 36, 0x6000_0020); // Code, readable, executable
        return file;
    }

    private static void Word(Span<byte> at, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(at[offset..], value);

    private static void Dword(Span<byte> at, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at[offset..], value);
}
