using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>Finds XEN_ELFNOTE_PHYS32_ENTRY, the address at which a PVH kernel is entered (Xen's elfnote.h).</summary>
internal static class PvhNote
{
    private const uint Phys32Entry = 18;
    private const int HeaderSize = 12;

    /// <summary>More than any kernel has; keeps a hostile file from making us read all of it.</summary>
    private const ulong MaximumSegment = 1 << 20;

    /// <summary>Returns the entry address, or null if there is no such note.</summary>
    public static ulong? Find(ImageFile file, Elf elf)
    {
        foreach (ElfSegment segment in elf.Segments)
        {
            if (segment.Type != Elf.PtNote || segment.FileSize > MaximumSegment)
            {
                continue;
            }

            byte[] notes = new byte[(int)segment.FileSize];
            if (file.TryRead(segment.FileOffset, notes) && Find(notes, segment.Alignment == 8 ? 8u : 4u) is { } entry)
            {
                return entry;
            }
        }

        return null;
    }

    private static ulong? Find(ReadOnlySpan<byte> notes, ulong alignment)
    {
        while (notes.Length >= HeaderSize)
        {
            uint nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes);
            uint descSize = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
            uint type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
            ulong descOffset = Align(HeaderSize + (ulong)nameSize, alignment);
            ulong next = Align(descOffset + descSize, alignment);
            if (descOffset + descSize > (ulong)notes.Length)
            {
                return null;
            }

            ReadOnlySpan<byte> name = notes.Slice(HeaderSize, (int)nameSize);
            ReadOnlySpan<byte> desc = notes.Slice((int)descOffset, (int)descSize);
            if (type == Phys32Entry && name.SequenceEqual("Xen\0"u8))
            {
                return desc.Length switch
                {
                    >= 8 => BinaryPrimitives.ReadUInt64LittleEndian(desc),
                    >= 4 => BinaryPrimitives.ReadUInt32LittleEndian(desc),
                    _ => null,
                };
            }

            notes = notes[(int)Math.Min(next, (ulong)notes.Length)..];
        }

        return null;
    }

    private static ulong Align(ulong value, ulong alignment) => (value + alignment - 1) & ~(alignment - 1);
}
