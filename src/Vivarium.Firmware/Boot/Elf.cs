using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// As much of the ELF format as a kernel loader needs: identification, the program headers (System V ABI, chapters 4
/// and 5), for both classes, little endian, x86 only.
/// </summary>
internal sealed class Elf
{
    public const uint PtLoad = 1;
    public const uint PtNote = 4;

    private const byte Class32 = 1;
    private const byte Class64 = 2;
    private const byte DataLittleEndian = 1;
    private const ushort Machine386 = 3;
    private const ushort MachineX86_64 = 62;
    private const int Header32Size = 52;
    private const int Header64Size = 64;
    private const int ProgramHeader32Size = 32;
    private const int ProgramHeader64Size = 56;

    private Elf(bool is64Bit, ulong entry, IReadOnlyList<ElfSegment> segments)
    {
        Is64Bit = is64Bit;
        Entry = entry;
        Segments = segments;
    }

    public bool Is64Bit { get; }

    /// <summary>e_entry: an address in the terms of the linker, which need not be a physical one.</summary>
    public ulong Entry { get; }

    public IReadOnlyList<ElfSegment> Segments { get; }

    public static bool IsElf(ImageFile file)
    {
        Span<byte> magic = stackalloc byte[4];
        return file.TryRead(0, magic) && magic.SequenceEqual("\u007FELF"u8);
    }

    /// <summary>Reads the headers; every segment's bytes are known to be in the file afterwards.</summary>
    public static Elf Parse(ImageFile file)
    {
        Span<byte> header = stackalloc byte[Header64Size];
        if (!file.TryRead(0, header[..Header32Size]))
        {
            throw Truncated(file, "its ELF header is incomplete");
        }

        bool is64Bit = header[4] switch
        {
            Class32 => false,
            Class64 => true,
            _ => throw new BootException($"{file.Name} is a damaged ELF file of class {header[4]}; give an intact x86 vmlinux"),
        };
        if (header[5] != DataLittleEndian)
        {
            throw new BootException($"{file.Name} is an ELF file for a big-endian machine; give an x86 vmlinux");
        }

        ushort machine = BinaryPrimitives.ReadUInt16LittleEndian(header[18..]);
        if (machine is not (Machine386 or MachineX86_64))
        {
            throw new BootException($"{file.Name} is an ELF file for {MachineName(machine)}; give an x86 vmlinux");
        }

        if (is64Bit && !file.TryRead(0, header))
        {
            throw Truncated(file, "its ELF header is incomplete");
        }

        ulong offset = is64Bit
            ? BinaryPrimitives.ReadUInt64LittleEndian(header[32..])
            : BinaryPrimitives.ReadUInt32LittleEndian(header[28..]);
        ushort entrySize = BinaryPrimitives.ReadUInt16LittleEndian(header[(is64Bit ? 54 : 42)..]);
        ushort count = BinaryPrimitives.ReadUInt16LittleEndian(header[(is64Bit ? 56 : 44)..]);
        if (count == 0 || entrySize != (is64Bit ? ProgramHeader64Size : ProgramHeader32Size))
        {
            throw new BootException($"{file.Name} is an ELF file that cannot be loaded: it has no program headers; give a linked vmlinux");
        }

        byte[] table = new byte[count * entrySize];
        if (!file.TryRead(offset, table))
        {
            throw Truncated(file, "its program headers lie past its end");
        }

        var segments = new ElfSegment[count];
        for (int i = 0; i < count; i++)
        {
            segments[i] = Segment(table.AsSpan(i * entrySize, entrySize), is64Bit);
            ElfSegment segment = segments[i];
            if (segment.Type is PtLoad or PtNote
                && (segment.FileOffset > file.Length || segment.FileSize > file.Length - segment.FileOffset))
            {
                throw Truncated(file, $"a segment of {segment.FileSize} bytes at {segment.FileOffset} lies past its end");
            }
        }

        ulong entry = is64Bit ? BinaryPrimitives.ReadUInt64LittleEndian(header[24..]) : BinaryPrimitives.ReadUInt32LittleEndian(header[24..]);
        return new Elf(is64Bit, entry, segments);
    }

    private static ElfSegment Segment(ReadOnlySpan<byte> entry, bool is64Bit) => is64Bit
        ? new ElfSegment(
            Type: BinaryPrimitives.ReadUInt32LittleEndian(entry),
            FileOffset: BinaryPrimitives.ReadUInt64LittleEndian(entry[8..]),
            VirtualAddress: BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]),
            PhysicalAddress: BinaryPrimitives.ReadUInt64LittleEndian(entry[24..]),
            FileSize: BinaryPrimitives.ReadUInt64LittleEndian(entry[32..]),
            MemorySize: BinaryPrimitives.ReadUInt64LittleEndian(entry[40..]),
            Alignment: BinaryPrimitives.ReadUInt64LittleEndian(entry[48..]))
        : new ElfSegment(
            Type: BinaryPrimitives.ReadUInt32LittleEndian(entry),
            FileOffset: BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]),
            VirtualAddress: BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]),
            PhysicalAddress: BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]),
            FileSize: BinaryPrimitives.ReadUInt32LittleEndian(entry[16..]),
            MemorySize: BinaryPrimitives.ReadUInt32LittleEndian(entry[20..]),
            Alignment: BinaryPrimitives.ReadUInt32LittleEndian(entry[28..]));

    private static string MachineName(ushort machine) => machine switch
    {
        8 => "MIPS",
        20 or 21 => "PowerPC",
        22 => "S/390",
        40 => "32-bit ARM",
        183 => "ARM64",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => $"machine type {machine}",
    };

    private static BootException Truncated(ImageFile file, string how) =>
        new($"{file.Name} is truncated: {how}; fetch a complete copy");
}
