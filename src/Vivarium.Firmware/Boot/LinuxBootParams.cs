using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// Linux boot_params, the "zero page" (Documentation/arch/x86/zero-page.rst). All that is not set here is zero, the
/// sentinel included, which tells the kernel that it was not filled in by accident.
/// </summary>
internal sealed class LinuxBootParams(BzImageHeader header)
{
    private const int Size = 4096;
    private const int AcpiRsdpOffset = 0x070;
    private const int E820EntriesOffset = 0x1E8;
    private const int E820TableOffset = 0x2D0;
    private const int E820EntrySize = 20;

    /// <summary>E820_MAX_ENTRIES_ZEROPAGE.</summary>
    private const int E820MaximumEntries = 128;

    public required uint LoadAddress { get; init; }
    public required uint CommandLine { get; init; }
    public required uint RamdiskImage { get; init; }
    public required uint RamdiskSize { get; init; }
    public required ulong SetupData { get; init; }
    public required ulong AcpiRsdp { get; init; }
    public required IReadOnlyList<E820Entry> MemoryMap { get; init; }

    public void Write(GuestMemory memory)
    {
        Span<byte> page = new byte[Size];
        header.Bytes.CopyTo(page[BzImageHeader.SetupSectsOffset..]);
        page[BzImageHeader.TypeOfLoaderOffset] = BzImageHeader.UndefinedLoader;
        page[BzImageHeader.LoadFlagsOffset] = (byte)(header.LoadFlags & ~BzImageHeader.CanUseHeap);
        BinaryPrimitives.WriteUInt32LittleEndian(page[BzImageHeader.Code32StartOffset..], LoadAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(page[BzImageHeader.RamdiskImageOffset..], RamdiskImage);
        BinaryPrimitives.WriteUInt32LittleEndian(page[BzImageHeader.RamdiskSizeOffset..], RamdiskSize);
        BinaryPrimitives.WriteUInt32LittleEndian(page[BzImageHeader.CmdLinePtrOffset..], CommandLine);
        BinaryPrimitives.WriteUInt64LittleEndian(page[AcpiRsdpOffset..], AcpiRsdp);
        if (header.Version >= LinuxSetupData.OldestVersion)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(page[BzImageHeader.SetupDataOffset..], SetupData);
        }

        int count = Math.Min(MemoryMap.Count, E820MaximumEntries);
        page[E820EntriesOffset] = (byte)count;
        for (int i = 0; i < count; i++)
        {
            Span<byte> entry = page.Slice(E820TableOffset + i * E820EntrySize, E820EntrySize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, MemoryMap[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], MemoryMap[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)MemoryMap[i].Type);
        }

        memory.Write(LowMemory.BootParams, page);
    }
}
