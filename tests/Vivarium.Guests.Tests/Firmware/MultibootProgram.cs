using System.Buffers.Binary;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>A kernel for multiboot 1 that says itself where it belongs, and writes what it is told to the text screen.</summary>
internal static class MultibootProgram
{
    private const uint Magic = 0x1BAD_B002;
    private const uint Flags = 1 << 16 | 3;
    private const uint LoadAddress = 0x10_0000;
    private const int HeaderLength = 32;

    /// <summary>Rows 4, 5 and 6: the command line, what the first module holds, and what is told of it.</summary>
    private static readonly byte[] s_code =
    [
        0x3D, 0x02, 0xB0, 0xAD, 0x2B, 0x75, 0x2C,             // cmp eax, 2BADB002h; jne end
        0xBF, 0x80, 0x82, 0x0B, 0x00, 0x8B, 0x73, 0x10,       // mov edi, B8280h; mov esi, [ebx+16]
        0xE8, 0x23, 0x00, 0x00, 0x00,                         // call print
        0xBF, 0x20, 0x83, 0x0B, 0x00, 0x8B, 0x43, 0x18,       // mov edi, B8320h; mov eax, [ebx+24]
        0x8B, 0x30, 0xE8, 0x14, 0x00, 0x00, 0x00,             // mov esi, [eax]; call print
        0xBF, 0xC0, 0x83, 0x0B, 0x00, 0x8B, 0x43, 0x18,       // mov edi, B83C0h; mov eax, [ebx+24]
        0x8B, 0x70, 0x08, 0xE8, 0x04, 0x00, 0x00, 0x00,       // mov esi, [eax+8]; call print
        0xFA, 0xF4, 0xEB, 0xFC,                               // end: cli; hlt; jmp end
        0xB4, 0x07, 0xAC, 0x84, 0xC0, 0x74, 0x04,             // print: mov ah, 7; next: lodsb; test al, al; jz done
        0x66, 0xAB, 0xEB, 0xF7, 0xC3,                         // stosw; jmp next; done: ret
    ];

    public static byte[] Build()
    {
        uint[] header = [Magic, Flags, unchecked(0u - Magic - Flags), LoadAddress, LoadAddress, 0, 0, LoadAddress + HeaderLength];
        byte[] file = new byte[HeaderLength + s_code.Length];
        for (int i = 0; i < header.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(i * sizeof(uint)), header[i]);
        }

        s_code.CopyTo(file, HeaderLength);
        return file;
    }
}
