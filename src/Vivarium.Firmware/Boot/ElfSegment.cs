namespace Vivarium.Firmware.Boot;

/// <summary>A program header of an ELF file.</summary>
internal readonly record struct ElfSegment(
    uint Type, ulong FileOffset, ulong VirtualAddress, ulong PhysicalAddress, ulong FileSize, ulong MemorySize, ulong Alignment);
