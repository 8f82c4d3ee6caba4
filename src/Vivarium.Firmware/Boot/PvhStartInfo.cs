using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>struct hvm_start_info, version 1, with its module list and memory map (Xen's arch-x86/hvm/start_info.h).</summary>
internal sealed class PvhStartInfo
{
    private const uint Magic = 0x336E_C578;
    private const uint CurrentVersion = 1;
    private const ulong ModuleListOffset = 0x40;
    private const ulong MemoryMapOffset = 0x80;

    public required ulong CommandLine { get; init; }
    public required ulong Rsdp { get; init; }

    /// <summary>The initrd; none if its size is 0.</summary>
    public required ulong ModuleAddress { get; init; }
    public required ulong ModuleSize { get; init; }

    public required IReadOnlyList<E820Entry> MemoryMap { get; init; }

    public void Write(GuestMemory memory)
    {
        var info = new LittleEndianWriter();
        info.U32(Magic);
        info.U32(CurrentVersion);
        info.U32(0); // flags
        info.U32(ModuleSize == 0 ? 0u : 1u);
        info.U64(ModuleSize == 0 ? 0 : LowMemory.StartInfo + ModuleListOffset);
        info.U64(CommandLine);
        info.U64(Rsdp);
        info.U64(LowMemory.StartInfo + MemoryMapOffset);
        info.U32((uint)MemoryMap.Count);
        info.U32(0);

        info.PadTo((int)ModuleListOffset);
        info.U64(ModuleAddress);
        info.U64(ModuleSize);
        info.U64(0); // no command line of its own
        info.U64(0);

        info.PadTo((int)MemoryMapOffset);
        foreach (E820Entry entry in MemoryMap)
        {
            info.U64(entry.Start);
            info.U64(entry.Length);
            info.U32((uint)entry.Type);
            info.U32(0);
        }

        memory.Write(LowMemory.StartInfo, info.Written);
    }
}
