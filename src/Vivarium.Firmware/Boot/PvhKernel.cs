using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// An ELF vmlinux entered directly by the PVH protocol: 32-bit protected mode, paging off, EBX holding the address of
/// hvm_start_info (Xen's docs/misc/pvh.pandoc).
/// </summary>
public sealed class PvhKernel : KernelImage
{
    /// <summary>COMMAND_LINE_SIZE of Linux on x86, less the terminating zero; the protocol itself states no limit.</summary>
    private const int LinuxCommandLineLimit = 2047;

    /// <summary>An i386 kernel wants its initrd below this address (initrd_addr_max of such kernels is one less).</summary>
    private const ulong InitrdLimit32 = 0x8000_0000;

    private readonly Elf _elf;
    private readonly uint _entry;

    private PvhKernel(ImageFile file, Elf elf, uint entry, ulong end) : base(file)
    {
        _elf = elf;
        _entry = entry;
        End = end;
    }

    public override string Protocol => $"PVH, {(_elf.Is64Bit ? 64 : 32)}-bit ELF";

    public override int CommandLineLimit => LinuxCommandLineLimit;

    /// <summary>First address past the kernel in memory.</summary>
    public ulong End { get; }

    internal static bool HasNote(ImageFile file) => PvhNote.Find(file, Elf.Parse(file)) is not null;

    internal static PvhKernel Parse(ImageFile file)
    {
        Elf elf = Elf.Parse(file);
        if (PvhNote.Find(file, elf) is not { } entry)
        {
            throw new BootException(
                $"{file.Name} is an ELF file without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) or a multiboot header; give a bzImage, a vmlinux built with CONFIG_PVH, or a multiboot kernel");
        }

        ulong end = 0;
        ulong fileBytes = 0;
        ulong memoryBytes = 0;
        bool entryIsLoaded = false;
        foreach (ElfSegment segment in Loaded(elf))
        {
            if (segment.PhysicalAddress < PlatformLayout.OneMebibyte
                || segment.PhysicalAddress > PlatformLayout.PciHoleStart
                || segment.MemorySize > PlatformLayout.PciHoleStart - segment.PhysicalAddress
                || segment.FileSize > segment.MemorySize)
            {
                throw new BootException(
                    $"{file.Name} is damaged: it wants 0x{segment.MemorySize:x} bytes at 0x{segment.PhysicalAddress:x}, which no machine here has; give an intact vmlinux");
            }

            ulong segmentEnd = segment.PhysicalAddress + segment.MemorySize;
            end = Math.Max(end, segmentEnd);
            fileBytes += segment.FileSize;
            memoryBytes += segment.MemorySize;
            entryIsLoaded |= entry >= segment.PhysicalAddress && entry < segment.PhysicalAddress + segment.FileSize;
        }

        // Segments of a real kernel do not overlap; without this, 65535 of them could keep a loader busy for hours.
        if (fileBytes > file.Length || memoryBytes > PlatformLayout.PciHoleStart)
        {
            throw new BootException($"{file.Name} is damaged: its segments overlap; give an intact vmlinux");
        }

        if (!entryIsLoaded)
        {
            throw new BootException($"{file.Name} is damaged: its PVH entry point 0x{entry:x} is not in any segment; give an intact vmlinux");
        }

        return new PvhKernel(file, elf, (uint)entry, end);
    }

    internal override void Check(BootPlan plan, PlatformLayout layout)
    {
        EncodeCommandLine(plan.CommandLine);
        if (End > layout.AcpiAreaStart)
        {
            throw new BootException(
                $"{ByteSize.Text(layout.MemorySize)} of memory is too small for the kernel {Name}; give the machine at least {ByteSize.RoundedUp(End + PlatformLayout.AcpiAreaSize)}");
        }

        PlaceInitrd(plan, layout);
    }

    internal override EntryState Place(BootPlan plan, GuestMemory memory, PlatformLayout layout, ulong rsdp)
    {
        foreach (ElfSegment segment in Loaded(_elf))
        {
            File.CopyTo(memory, segment.PhysicalAddress, segment.FileOffset, segment.FileSize);
            Clear(memory, segment.PhysicalAddress + segment.FileSize, segment.MemorySize - segment.FileSize);
        }

        ulong initrd = PlaceInitrd(plan, layout);
        plan.Initrd?.Place(memory, initrd);
        memory.Write(LowMemory.CommandLine, EncodeCommandLine(plan.CommandLine));
        new PvhStartInfo
        {
            CommandLine = LowMemory.CommandLine,
            Rsdp = rsdp,
            ModuleAddress = initrd,
            ModuleSize = plan.Initrd?.Length ?? 0,
            MemoryMap = E820Map.Build(layout),
        }.Write(memory);

        BootGdt.Write(memory, EntryMode.Protected32);
        return EntryState.Protected32(_entry) with { Rbx = LowMemory.StartInfo };
    }

    private static IEnumerable<ElfSegment> Loaded(Elf elf) =>
        elf.Segments.Where(segment => segment.Type == Elf.PtLoad && segment.MemorySize != 0);

    private static void Clear(GuestMemory memory, ulong gpa, ulong length)
    {
        byte[] zeros = new byte[(int)Math.Min(length, 64 * 1024)];
        while (length != 0)
        {
            ulong part = Math.Min(length, (ulong)zeros.Length);
            memory.Write(gpa, zeros.AsSpan(0, (int)part));
            gpa += part;
            length -= part;
        }
    }

    private ulong PlaceInitrd(BootPlan plan, PlatformLayout layout) =>
        plan.Initrd is null
            ? 0
            : plan.Initrd.PlaceBelow(End, _elf.Is64Bit ? PlatformLayout.PciHoleStart : InitrdLimit32, layout.AcpiAreaStart);
}
