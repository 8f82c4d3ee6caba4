using System.Buffers.Binary;

namespace Vivarium.Guests.Tests;

/// <summary>
/// The smallest kernel that boots: an ELF file with a PVH note (Xen's x86/HVM direct boot ABI) around a few bytes of
/// 32-bit code, which run in flat protected mode at 1 MiB with interrupts off.
/// </summary>
internal static class TinyKernel
{
    private const uint LoadAddress = 0x10_0000;
    private const uint PvhEntryNote = 18;
    private const int ElfHeaderSize = 64;
    private const int ProgramHeaderSize = 56;

    /// <summary>cli; jmp to itself.</summary>
    public static byte[] Spin => Build(0xFA, 0xEB, 0xFE);

    /// <summary>cli; hlt; and again.</summary>
    public static byte[] Halt => Build(0xFA, 0xF4, 0xEB, 0xFD);

    /// <summary>ud2 without an interrupt table.</summary>
    public static byte[] TripleFault => Build(0x0F, 0x0B);

    /// <summary>mov al, value; out 0xF4, al; then halts.</summary>
    public static byte[] DebugExit(byte value) => Build(0xB0, value, 0xE6, 0xF4, 0xFA, 0xF4, 0xEB, 0xFD);

    /// <summary>mov dx, 0xCF9; mov al, 6; out dx, al: the chipset's reset control register, then halts.</summary>
    public static byte[] Reset => Build(0x66, 0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xFA, 0xF4, 0xEB, 0xFD);

    /// <summary>Writes a word to a 16-bit port (mov dx; mov ax; out dx, ax), then halts.</summary>
    public static byte[] OutWord(ushort port, ushort value) => Build(
        0x66, 0xBA, (byte)port, (byte)(port >> 8), 0x66, 0xB8, (byte)value, (byte)(value >> 8), 0x66, 0xEF, 0xFA, 0xF4, 0xEB, 0xFD);

    /// <summary>Writes the text to COM1, then leaves through debug-exit with 0.</summary>
    public static byte[] Print(string text) => Build(
    [
        0x66, 0xBA, 0xF8, 0x03,
        .. text.SelectMany(character => new byte[] { 0xB0, (byte)character, 0xEE }),
        0xB0, 0x00, 0xE6, 0xF4, 0xFA, 0xF4, 0xEB, 0xFD,
    ]);

    /// <summary>Echoes COM1: waits for a byte (LSR bit 0), sends it back; on 'q' leaves through debug-exit with 0.</summary>
    public static byte[] Echo => Build(
        0x66, 0xBA, 0xFD, 0x03,       // mov dx, 0x3FD
        0xEC, 0xA8, 0x01, 0x74, 0xFB, // in al, dx; test al, 1; jz -5
        0x66, 0xBA, 0xF8, 0x03,       // mov dx, 0x3F8
        0xEC, 0xEE,                   // in al, dx; out dx, al
        0x3C, 0x71, 0x75, 0xEB,       // cmp al, 'q'; jne to the start
        0xB0, 0x00, 0xE6, 0xF4, 0xFA, 0xF4, 0xEB, 0xFD);

    public static byte[] Build(params byte[] code)
    {
        const int NoteOffset = ElfHeaderSize + (2 * ProgramHeaderSize);
        const int NoteSize = 12 + 4 + 4;
        const int CodeOffset = 0x1000;
        byte[] file = new byte[CodeOffset + code.Length];
        Span<byte> elf = file;
        new byte[] { 0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1 }.CopyTo(elf);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[16..], 2);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[18..], 62);
        BinaryPrimitives.WriteUInt32LittleEndian(elf[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(elf[24..], LoadAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(elf[32..], ElfHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[52..], ElfHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[54..], ProgramHeaderSize);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[56..], 2);
        BinaryPrimitives.WriteUInt16LittleEndian(elf[58..], 64);
        ProgramHeader(elf[ElfHeaderSize..], type: 1, CodeOffset, LoadAddress, code.Length, align: 0x1000);
        ProgramHeader(elf[(ElfHeaderSize + ProgramHeaderSize)..], type: 4, NoteOffset, 0, NoteSize, align: 4);
        Span<byte> note = elf[NoteOffset..];
        BinaryPrimitives.WriteUInt32LittleEndian(note, 4);
        BinaryPrimitives.WriteUInt32LittleEndian(note[4..], 4);
        BinaryPrimitives.WriteUInt32LittleEndian(note[8..], PvhEntryNote);
        "Xen\0"u8.CopyTo(note[12..]);
        BinaryPrimitives.WriteUInt32LittleEndian(note[16..], LoadAddress);
        code.CopyTo(elf[CodeOffset..]);
        return file;
    }

    private static void ProgramHeader(Span<byte> header, uint type, int offset, uint address, int size, ulong align)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], 7);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], (ulong)offset);
        BinaryPrimitives.WriteUInt64LittleEndian(header[16..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], address);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], (ulong)size);
        BinaryPrimitives.WriteUInt64LittleEndian(header[40..], (ulong)size);
        BinaryPrimitives.WriteUInt64LittleEndian(header[48..], align);
    }
}
