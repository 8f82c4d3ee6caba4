using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// A kernel for multiboot 1 (Multiboot Specification 0.6.96): an ELF file, or a file that says itself where it belongs. It is
/// entered in flat 32-bit protected mode, EAX holding the loader's magic number and EBX the address of what it is told.
/// </summary>
public sealed class MultibootKernel : KernelImage
{
    /// <summary>EAX at the entry point (3.2).</summary>
    private const uint LoaderMagic = 0x2BAD_B002;

    private readonly IReadOnlyList<ElfSegment> _segments;
    private readonly uint _entry;

    private MultibootKernel(ImageFile file, IReadOnlyList<ElfSegment> segments, uint entry) : base(file)
    {
        _segments = segments;
        _entry = entry;
        End = segments.Max(segment => segment.PhysicalAddress + segment.MemorySize);
    }

    public override string Protocol => "multiboot 1";

    public override int CommandLineLimit => MultibootInformation.MostText;

    /// <summary>First address past the kernel in memory.</summary>
    public ulong End { get; }

    internal static MultibootKernel Parse(ImageFile file, MultibootHeader header)
    {
        (IReadOnlyList<ElfSegment> segments, ulong entry) = header.SaysWhere ? FromHeader(file, header) : FromElf(file);
        ulong fileBytes = 0;
        ulong memoryBytes = 0;
        bool entryIsLoaded = false;
        foreach (ElfSegment segment in segments)
        {
            if (segment.PhysicalAddress < PlatformLayout.OneMebibyte)
            {
                throw new BootException($"{file.Name} wants to be at 0x{segment.PhysicalAddress:x}, and below 1 MiB there is no room for a kernel; give one that is linked to 1 MiB or above");
            }

            if (segment.PhysicalAddress > PlatformLayout.PciHoleStart || segment.MemorySize > PlatformLayout.PciHoleStart - segment.PhysicalAddress || segment.FileSize > segment.MemorySize)
            {
                throw new BootException($"{file.Name} is damaged: it wants 0x{segment.MemorySize:x} bytes at 0x{segment.PhysicalAddress:x}, which no machine here has; give an intact kernel");
            }

            fileBytes += segment.FileSize;
            memoryBytes += segment.MemorySize;
            entryIsLoaded |= entry >= segment.PhysicalAddress && entry < segment.PhysicalAddress + segment.FileSize;
        }

        if (segments.Count == 0 || fileBytes > file.Length || memoryBytes > PlatformLayout.PciHoleStart)
        {
            throw new BootException($"{file.Name} is damaged: {(segments.Count == 0 ? "there is nothing in it to load" : "its segments overlap")}; give an intact kernel");
        }

        return entryIsLoaded
            ? new MultibootKernel(file, segments, (uint)entry)
            : throw new BootException($"{file.Name} is damaged: its entry point 0x{entry:x} is not in what is loaded; give an intact kernel");
    }

    internal override void Check(BootPlan plan, PlatformLayout layout)
    {
        ulong end = LayOut(plan, layout, null);
        ulong limit = TopOf(plan, layout);
        if (end > limit)
        {
            throw new BootException($"{ByteSize.Text(layout.MemorySize)} of memory is too small for the kernel {Name}{(ModuleCount(plan) == 0 ? "" : " and its modules")}; give the machine at least {ByteSize.RoundedUp(end + (layout.RamBelow4G - limit))}");
        }
    }

    internal override EntryState Place(BootPlan plan, GuestMemory memory, PlatformLayout layout, ulong rsdp)
    {
        (List<BootPiece> pieces, EntryState entry) = Prepare(plan, layout);
        foreach (BootPiece piece in pieces)
        {
            memory.Write(piece.Address, piece.Bytes.Span);
            Clear(memory, piece.Address + (ulong)piece.Bytes.Length, piece.Zeros);
        }

        BootGdt.Write(memory, EntryMode.Protected32);
        return entry;
    }

    internal override FirmwareHandover HandOver(BootPlan plan, PlatformLayout layout)
    {
        (List<BootPiece> pieces, EntryState entry) = Prepare(plan, layout);
        return FirmwareHandover.Create([.. pieces, BootGdt.ProtectedPiece], entry);
    }

    private static (IReadOnlyList<ElfSegment> Segments, ulong Entry) FromElf(ImageFile file)
    {
        Elf elf = Elf.Parse(file);
        ElfSegment[] loaded = [.. elf.Segments.Where(segment => segment.Type == Elf.PtLoad && segment.MemorySize != 0)];

        // A kernel that runs at other addresses than it is loaded to may name its entry point by either.
        foreach (ElfSegment segment in loaded)
        {
            if (elf.Entry >= segment.VirtualAddress && elf.Entry - segment.VirtualAddress < segment.MemorySize)
            {
                return (loaded, elf.Entry - segment.VirtualAddress + segment.PhysicalAddress);
            }
        }

        return (loaded, elf.Entry);
    }

    private static (IReadOnlyList<ElfSegment> Segments, ulong Entry) FromHeader(ImageFile file, MultibootHeader header)
    {
        BootException Damaged(string how) => new($"{file.Name} is damaged: {how}; give an intact kernel");

        if (header.LoadAddress > header.HeaderAddress || header.HeaderAddress - header.LoadAddress > (uint)header.Offset)
        {
            throw Damaged($"its multiboot header puts it to 0x{header.LoadAddress:x}, and the header itself to 0x{header.HeaderAddress:x}");
        }

        ulong offset = (uint)header.Offset - (header.HeaderAddress - header.LoadAddress);
        ulong size = header.LoadEnd == 0 ? file.Length - offset : (ulong)header.LoadEnd - header.LoadAddress;
        if ((header.LoadEnd != 0 && header.LoadEnd < header.LoadAddress) || size > file.Length - offset)
        {
            throw Damaged($"its multiboot header promises bytes to 0x{header.LoadEnd:x} that are not in the file");
        }

        ulong end = header.LoadAddress + size;
        if (header.BssEnd != 0 && header.BssEnd < end)
        {
            throw Damaged($"its multiboot header ends the zeros at 0x{header.BssEnd:x}, before what is loaded");
        }

        ulong memory = header.BssEnd == 0 ? size : header.BssEnd - (ulong)header.LoadAddress;
        return ([new ElfSegment(Elf.PtLoad, offset, header.LoadAddress, header.LoadAddress, size, memory, 0)], header.Entry);
    }

    /// <summary>Where RAM ends for a kernel and its modules: firmware keeps what it needs at the top.</summary>
    private static ulong TopOf(BootPlan plan, PlatformLayout layout) =>
        plan.StartsFromFirmware ? layout.RamBelow4G - Math.Min(FirmwareHandover.ReservedAtTop, layout.RamBelow4G) : layout.AcpiAreaStart;

    private static int ModuleCount(BootPlan plan) => plan.Modules.Count + (plan.Initrd is null ? 0 : 1);

    private static void Clear(GuestMemory memory, ulong gpa, ulong length)
    {
        byte[] zeros = new byte[(int)Math.Min(length, 64 * 1024)];
        while (length != 0)
        {
            int part = (int)Math.Min(length, (ulong)zeros.Length);
            memory.Write(gpa, zeros.AsSpan(0, part));
            gpa += (ulong)part;
            length -= (ulong)part;
        }
    }

    private (List<BootPiece> Pieces, EntryState Entry) Prepare(BootPlan plan, PlatformLayout layout)
    {
        List<BootPiece> pieces = [.. _segments.Select(segment => new BootPiece(segment.PhysicalAddress, File.ReadPart(segment.FileOffset, segment.FileSize), segment.MemorySize - segment.FileSize))];
        _ = LayOut(plan, layout, pieces);
        return (pieces, EntryState.Protected32(_entry) with { Rax = LoaderMagic, Rbx = MultibootInformation.Address });
    }

    /// <summary>Gives each module its place behind the kernel; returns where the last ends.</summary>
    /// <param name="pieces">Gets the modules and what the kernel is told; null to know only whether all fits.</param>
    private ulong LayOut(BootPlan plan, PlatformLayout layout, List<BootPiece>? pieces)
    {
        const ulong pageMask = GuestMemory.PageMask;
        var information = new MultibootInformation { CommandLine = $"{Name} {plan.CommandLine}".TrimEnd(), MemoryMap = MapFor(plan, layout) };
        ulong end = End;
        void Add(string text, ulong length, Func<byte[]> read)
        {
            ulong start = (end + pageMask) & ~pageMask;
            end = start + length;
            information.Modules.Add((start, end, text));
            pieces?.Add(new BootPiece(start, read()));
        }

        if (plan.Initrd is { } initrd)
        {
            Add(initrd.Name, initrd.Length, initrd.Read);
        }

        foreach (BootModule module in plan.Modules)
        {
            Add(module.Text, module.Length, module.Read);
        }

        byte[] told = information.Build();
        pieces?.Add(new BootPiece(MultibootInformation.Address, told));
        return end;
    }

    private static IReadOnlyList<E820Entry> MapFor(BootPlan plan, PlatformLayout layout)
    {
        if (!plan.StartsFromFirmware)
        {
            return E820Map.Build(layout);
        }

        List<E820Entry> map =
        [
            new(0, PlatformLayout.ConventionalMemoryEnd, E820Type.Ram),
            new(PlatformLayout.ConventionalMemoryEnd, PlatformLayout.OneMebibyte - PlatformLayout.ConventionalMemoryEnd, E820Type.Reserved),
            new(PlatformLayout.OneMebibyte, TopOf(plan, layout) - PlatformLayout.OneMebibyte, E820Type.Ram),
            new(TopOf(plan, layout), FirmwareHandover.ReservedAtTop, E820Type.Reserved),
        ];
        if (layout.RamAbove4G != 0)
        {
            map.Add(new E820Entry(PlatformLayout.HighRamStart, layout.RamAbove4G, E820Type.Ram));
        }

        return map;
    }
}
