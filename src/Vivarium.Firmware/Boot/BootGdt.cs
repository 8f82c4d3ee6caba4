using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// The descriptor table that both Linux entry protocols ask for: __BOOT_CS at 0x10 and __BOOT_DS at 0x18, flat
/// (Documentation/arch/x86/boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol").
/// </summary>
public static class BootGdt
{
    public const ushort CodeSelector = 0x10;
    public const ushort DataSelector = 0x18;
    public const ushort Limit = 4 * sizeof(ulong) - 1;

    private const ulong Code64Descriptor = 0x00AF_9B00_0000_FFFF;
    private const ulong Code32Descriptor = 0x00CF_9B00_0000_FFFF;
    private const ulong DataDescriptor = 0x00CF_9300_0000_FFFF;

    /// <summary>The same for flat protected mode, as a piece of memory.</summary>
    internal static BootPiece ProtectedPiece
    {
        get
        {
            var gdt = new LittleEndianWriter();
            gdt.U64(0);
            gdt.U64(0);
            gdt.U64(Code32Descriptor);
            gdt.U64(DataDescriptor);
            return new BootPiece(LowMemory.Gdt, gdt.ToArray());
        }
    }

    internal static void Write(GuestMemory memory, EntryMode mode)
    {
        const ulong at = LowMemory.Gdt;
        memory.Write(at, 0ul);
        memory.Write(at + 8, 0ul);
        memory.Write(at + CodeSelector, mode == EntryMode.Long64 ? Code64Descriptor : Code32Descriptor);
        memory.Write(at + DataSelector, DataDescriptor);
    }
}
