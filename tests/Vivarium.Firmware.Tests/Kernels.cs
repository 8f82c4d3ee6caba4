using System.Buffers.Binary;
using System.Text;
using Vivarium.Firmware.Boot;

namespace Vivarium.Firmware.Tests;

/// <summary>Small images with sound headers, for the tests to load and to damage.</summary>
internal static class Kernels
{
    public const int SetupSectors = 4;
    public const int KernelOffset = (1 + SetupSectors) * 512;
    public const int KernelSize = 4096;
    public const ulong PrefAddress = 0x100_0000;
    public const uint InitSize = 0x20_0000;
    public const uint PvhEntry = 0x100_0040;

    /// <summary>A bzImage of protocol 2.15 whose protected-mode bytes count up from 0.</summary>
    public static byte[] BzImage(bool is64Bit = true, ushort version = 0x020F, uint cmdlineSize = 2047)
    {
        byte[] image = new byte[KernelOffset + KernelSize];
        image[0x1F1] = SetupSectors;
        U32(image, 0x1F4, KernelSize / 16); // syssize
        U16(image, 0x1FE, 0xAA55);
        image[0x200] = 0xEB; // jump over the header, which says where it ends
        image[0x201] = 0x6A;
        "HdrS"u8.CopyTo(image.AsSpan(0x202));
        U16(image, 0x206, version);
        image[0x211] = 0x81; // LOADED_HIGH, CAN_USE_HEAP
        U32(image, 0x214, 0x10_0000); // code32_start
        U32(image, 0x22C, 0x7FFF_FFFF); // initrd_addr_max
        U32(image, 0x230, 0x20_0000); // kernel_alignment
        image[0x234] = 1; // relocatable
        U16(image, 0x236, (ushort)(is64Bit ? 1 : 0)); // xloadflags
        U32(image, 0x238, cmdlineSize);
        U64(image, 0x258, PrefAddress);
        U32(image, 0x260, InitSize);
        for (int i = 0; i < KernelSize; i++)
        {
            image[KernelOffset + i] = (byte)(i * 7 + (i >> 8));
        }

        return image;
    }

    /// <summary>A vmlinux with one loaded segment (1000h bytes, then 1000h of zeros) and a PVH note.</summary>
    public static byte[] Vmlinux(bool is64Bit = true, uint noteType = 18)
    {
        const int loadOffset = 0x200;
        const int loadSize = 0x1000;
        const int noteOffset = 0x140;
        byte[] image = new byte[loadOffset + loadSize];
        "\u007FELF"u8.CopyTo(image);
        image[4] = (byte)(is64Bit ? 2 : 1);
        image[5] = 1;
        image[6] = 1;
        U16(image, 16, 2); // ET_EXEC
        U16(image, 18, (ushort)(is64Bit ? 62 : 3));

        byte[] note = new byte[20 + 4 + 16];
        U32(note, 0, 4); // a note of another owner comes first
        U32(note, 4, 4);
        U32(note, 8, 1);
        "GNU\0"u8.CopyTo(note.AsSpan(12));
        U32(note, 20, 4);
        U32(note, 24, 4);
        U32(note, 28, noteType);
        "Xen\0"u8.CopyTo(note.AsSpan(32));
        U32(note, 36, PvhEntry);
        note.CopyTo(image, noteOffset);

        if (is64Bit)
        {
            U64(image, 32, 64); // e_phoff
            U16(image, 54, 56);
            U16(image, 56, 2);
            Header64(image, 64, 1, loadOffset, PrefAddress, loadSize, 2 * loadSize);
            Header64(image, 64 + 56, 4, noteOffset, 0, (ulong)note.Length, (ulong)note.Length);
        }
        else
        {
            U32(image, 28, 52);
            U16(image, 42, 32);
            U16(image, 44, 2);
            Header32(image, 52, 1, loadOffset, (uint)PrefAddress, loadSize, 2 * loadSize);
            Header32(image, 52 + 32, 4, noteOffset, 0, (uint)note.Length, (uint)note.Length);
        }

        for (int i = 0; i < loadSize; i++)
        {
            image[loadOffset + i] = (byte)(i * 5 + 1);
        }

        return image;
    }

    public static KernelImage Load(byte[] bytes) => KernelImage.Load(new MemoryStream(bytes), "kernel");

    public static byte[] Text(string text) => Encoding.ASCII.GetBytes(text);

    public static void U16(byte[] image, int offset, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(offset), value);

    public static void U32(byte[] image, int offset, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(offset), value);

    public static void U64(byte[] image, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan(offset), value);

    private static void Header64(byte[] image, int at, uint type, ulong offset, ulong address, ulong fileSize, ulong memorySize)
    {
        U32(image, at, type);
        U64(image, at + 8, offset);
        U64(image, at + 24, address);
        U64(image, at + 32, fileSize);
        U64(image, at + 40, memorySize);
        U64(image, at + 48, 4);
    }

    private static void Header32(byte[] image, int at, uint type, uint offset, uint address, uint fileSize, uint memorySize)
    {
        U32(image, at, type);
        U32(image, at + 4, offset);
        U32(image, at + 12, address);
        U32(image, at + 16, fileSize);
        U32(image, at + 20, memorySize);
        U32(image, at + 28, 4);
    }
}
