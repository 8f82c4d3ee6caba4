using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>The header of a multiboot kernel (Multiboot Specification 0.6.96, 3.1).</summary>
internal readonly record struct MultibootHeader
{
    /// <summary>The header lies in the first 8 KiB, at a multiple of four.</summary>
    private const int SearchLength = 8192;

    private const uint Magic = 0x1BAD_B002;
    private const int ShortLength = 12;
    private const int LongLength = 32;

    private const uint AlignModules = 1 << 0;
    private const uint MemoryInformation = 1 << 1;
    private const uint VideoMode = 1 << 2;
    private const uint HasAddresses = 1 << 16;

    /// <summary>What of the features that a loader must understand to start a kernel this one does.</summary>
    private const uint Understood = AlignModules | MemoryInformation | VideoMode;
    private const uint Required = 0xFFFF;

    /// <summary>Where it lies in the file.</summary>
    public required int Offset { get; init; }

    /// <summary>The kernel says where it belongs instead of leaving that to its ELF headers ("a.out kludge").</summary>
    public required bool SaysWhere { get; init; }

    public uint HeaderAddress { get; init; }
    public uint LoadAddress { get; init; }

    /// <summary>0: to the end of the file.</summary>
    public uint LoadEnd { get; init; }

    /// <summary>0: no zeros behind what is loaded.</summary>
    public uint BssEnd { get; init; }

    public uint Entry { get; init; }

    /// <summary>Null if the file has none.</summary>
    /// <exception cref="BootException">It has one that asks for what is not there.</exception>
    public static MultibootHeader? Find(ImageFile file)
    {
        byte[] head = new byte[(int)Math.Min(file.Length, SearchLength)];
        if (!file.TryRead(0, head))
        {
            return null;
        }

        for (int offset = 0; offset + ShortLength <= head.Length; offset += sizeof(uint))
        {
            ReadOnlySpan<byte> at = head.AsSpan(offset);
            uint flags = U32(at, 1);
            if (U32(at, 0) != Magic || U32(at, 0) + flags + U32(at, 2) != 0)
            {
                continue;
            }

            if ((flags & Required & ~Understood) != 0)
            {
                throw new BootException($"{file.Name} is a multiboot kernel that asks for features 0x{flags & Required & ~Understood:x}, which the specification does not define; give one for multiboot 1");
            }

            bool saysWhere = (flags & HasAddresses) != 0;
            if (saysWhere && at.Length < LongLength)
            {
                throw new BootException($"{file.Name} is truncated: its multiboot header is incomplete; fetch a complete copy");
            }

            return new MultibootHeader
            {
                Offset = offset,
                SaysWhere = saysWhere,
                HeaderAddress = saysWhere ? U32(at, 3) : 0,
                LoadAddress = saysWhere ? U32(at, 4) : 0,
                LoadEnd = saysWhere ? U32(at, 5) : 0,
                BssEnd = saysWhere ? U32(at, 6) : 0,
                Entry = saysWhere ? U32(at, 7) : 0,
            };
        }

        return null;
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int index) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[(index * sizeof(uint))..]);
}
