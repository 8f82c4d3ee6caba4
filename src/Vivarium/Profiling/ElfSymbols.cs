using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Profiling;

/// <summary>The functions in the symbol table of an ELF file for x86-64 (System V ABI, "Object Files").</summary>
internal static class ElfSymbols
{
    private const int HeaderSize = 64;
    private const int SectionHeaderSize = 64;
    private const int SymbolSize = 24;

    // Elf64_Ehdr.
    private const int SectionsOffset = 40;
    private const int SectionCountOffset = 60;

    // Elf64_Shdr.
    private const int TypeOffset = 4;
    private const int FileOffsetOffset = 24;
    private const int SizeOffset = 32;
    private const int LinkOffset = 40;
    private const uint SymbolTable = 2;
    private const uint DynamicSymbols = 11;

    // Elf64_Sym.
    private const int InfoOffset = 4;
    private const int SectionIndexOffset = 6;
    private const int ValueOffset = 8;
    private const int SymbolSizeOffset = 16;
    private const int FunctionType = 2;
    private const int NoType = 0;

    /// <summary>Larger tables than any program has are refused.</summary>
    private const ulong LargestSection = 512 << 20;

    /// <summary>Adds a file's functions. False: it is no ELF file.</summary>
    /// <exception cref="InvalidDataException">It is a damaged one, or not for x86-64.</exception>
    public static bool TryRead(Stream file, List<GuestSymbols.Symbol> symbols)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        if (file.ReadAtLeast(header, HeaderSize, throwOnEndOfStream: false) < HeaderSize || !header[..4].SequenceEqual("\u007fELF"u8))
        {
            return false;
        }

        if (header[4] != 2 || header[5] != 1)
        {
            throw new InvalidDataException("only little-endian 64-bit ELF files have symbols of x86-64 code");
        }

        int count = BinaryPrimitives.ReadUInt16LittleEndian(header[SectionCountOffset..]);
        byte[] sections = Read(file, BinaryPrimitives.ReadUInt64LittleEndian(header[SectionsOffset..]), (ulong)count * SectionHeaderSize);
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> section = sections.AsSpan(i * SectionHeaderSize, SectionHeaderSize);
            uint names = BinaryPrimitives.ReadUInt32LittleEndian(section[LinkOffset..]);
            if (BinaryPrimitives.ReadUInt32LittleEndian(section[TypeOffset..]) is SymbolTable or DynamicSymbols && names < (uint)count)
            {
                AddAll(Contents(file, section), Contents(file, sections.AsSpan((int)names * SectionHeaderSize, SectionHeaderSize)), symbols);
            }
        }

        return true;
    }

    private static void AddAll(ReadOnlySpan<byte> table, ReadOnlySpan<byte> names, List<GuestSymbols.Symbol> symbols)
    {
        for (; table.Length >= SymbolSize; table = table[SymbolSize..])
        {
            uint name = BinaryPrimitives.ReadUInt32LittleEndian(table);
            ulong value = BinaryPrimitives.ReadUInt64LittleEndian(table[ValueOffset..]);
            ulong size = BinaryPrimitives.ReadUInt64LittleEndian(table[SymbolSizeOffset..]);
            bool defined = BinaryPrimitives.ReadUInt16LittleEndian(table[SectionIndexOffset..]) != 0;

            // Functions; labels of assembly code, which have no type and no size, stand for nothing that can be told apart from data.
            if (defined && value != 0 && name < names.Length && ((table[InfoOffset] & 15) == FunctionType || ((table[InfoOffset] & 15) == NoType && size != 0)))
            {
                ReadOnlySpan<byte> text = names[(int)name..];
                int end = text.IndexOf((byte)0);
                string word = GuestSymbols.Clean(Encoding.Latin1.GetString(text[..(end < 0 ? 0 : Math.Min(end, 256))]));
                if (word.Length != 0)
                {
                    symbols.Add(new GuestSymbols.Symbol(value, size, word));
                }
            }
        }
    }

    private static byte[] Contents(Stream file, ReadOnlySpan<byte> section) => Read(
        file,
        BinaryPrimitives.ReadUInt64LittleEndian(section[FileOffsetOffset..]),
        BinaryPrimitives.ReadUInt64LittleEndian(section[SizeOffset..]));

    private static byte[] Read(Stream file, ulong offset, ulong size)
    {
        ulong length = (ulong)file.Length;
        if (size > LargestSection || offset > length || size > length - offset)
        {
            throw new InvalidDataException("the ELF file is damaged: a section lies outside of it");
        }

        byte[] bytes = new byte[size];
        file.Position = (long)offset;
        file.ReadExactly(bytes);
        return bytes;
    }
}
