using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// A bzImage that is entered by its 16-bit setup code, with firmware beneath it whose calls it makes (Documentation/arch/x86/boot.rst
/// of Linux, "The real-mode kernel header" and "Running the kernel"): iPXE, Memtest86+ and others that borrow Linux' format.
/// </summary>
public sealed class RealModeKernel : KernelImage
{
    private const ulong SectorSize = 512;
    private const int DefaultSetupSectors = 4;

    /// <summary>The first with a pointer to the command line.</summary>
    private const ushort OldestVersion = 0x0202;
    private const ushort KernelVersionOffset = 0x20E;

    private const ulong SetupAddress = 0x1_0000;

    /// <summary>The entry point is 200h bytes after the segment in which the setup code runs.</summary>
    private const ushort SetupSegment = (ushort)(SetupAddress >> 4);
    private const ushort EntrySegment = SetupSegment + 0x20;

    /// <summary>The stack, and a heap up to it, lie behind the setup code in its segment.</summary>
    private const ushort StackTop = 0xFFF0;
    private const ushort HeapEnd = StackTop - 0x400 - 0x200;

    private const int DefaultCommandLineLimit = 255;
    private const ushort CommandLineSizeVersion = 0x0206;

    private readonly byte[] _setup;
    private readonly byte[] _kernel;
    private readonly BzImageHeader _header;

    private RealModeKernel(ImageFile file, BzImageHeader header, byte[] setup, byte[] kernel) : base(file)
    {
        _header = header;
        _setup = setup;
        _kernel = kernel;
    }

    public override string Protocol => $"Linux 16-bit boot protocol {_header.Version >> 8}.{_header.Version & 0xFF:00}";

    public override int CommandLineLimit => _header.Version >= CommandLineSizeVersion && _header.CmdlineSize != 0
        ? (int)Math.Min(_header.CmdlineSize, LowMemory.CommandLineRoom - 1)
        : DefaultCommandLineLimit;

    /// <summary>
    /// True for what borrows Linux' format but is no Linux: it has no 32-bit entry point, or its version is no number. Such
    /// programs count on firmware.
    /// </summary>
    internal static bool IsLikely(ImageFile file)
    {
        byte[] prefix = new byte[BzImageHeader.PrefixLength];
        Span<byte> version = stackalloc byte[1];
        return file.TryRead(0, prefix)
            && (BinaryPrimitives.ReadUInt32LittleEndian(prefix.AsSpan(BzImageHeader.Code32StartOffset)) == 0
                || (BinaryPrimitives.ReadUInt16LittleEndian(prefix.AsSpan(KernelVersionOffset)) is var at and not 0
                    && file.TryRead(at + SectorSize, version) && !char.IsAsciiDigit((char)version[0])));
    }

    internal static RealModeKernel Parse(ImageFile file)
    {
        byte[] prefix = new byte[BzImageHeader.PrefixLength];
        if (!file.TryRead(0, prefix))
        {
            throw Truncated(file, "its setup header is incomplete");
        }

        var header = new BzImageHeader(prefix);
        if (header.Version < OldestVersion || (header.LoadFlags & BzImageHeader.LoadedHigh) == 0)
        {
            throw new BootException($"{file.Name} speaks Linux boot protocol {header.Version >> 8}.{header.Version & 0xFF:00} and loads {((header.LoadFlags & BzImageHeader.LoadedHigh) == 0 ? "low" : "high")}, but at least 2.02 and a kernel above 1 MiB are needed; use a newer one");
        }

        ulong setupLength = (1 + (ulong)(header.SetupSects == 0 ? DefaultSetupSectors : header.SetupSects)) * SectorSize;
        if (setupLength > HeapEnd)
        {
            throw new BootException($"{file.Name} is damaged: its setup code has {setupLength} bytes, and {HeapEnd} is the most; give an intact one");
        }

        return file.Length <= setupLength
            ? throw Truncated(file, $"it has {file.Length} bytes, its setup code alone has {setupLength}")
            : new RealModeKernel(file, header, file.ReadPart(0, setupLength), file.ReadPart(setupLength, file.Length - setupLength));
    }

    internal override void Check(BootPlan plan, PlatformLayout layout)
    {
        if (!plan.StartsFromFirmware)
        {
            throw new BootException($"{Name} calls a PC's firmware, which this machine does not have; run it with --virt full");
        }

        _ = EncodeCommandLine(plan.CommandLine);
        ulong end = PlatformLayout.OneMebibyte + (ulong)_kernel.Length;
        if (end + FirmwareHandover.ReservedAtTop > layout.RamBelow4G)
        {
            throw new BootException($"{ByteSize.Text(layout.MemorySize)} of memory is too small for {Name}; give the machine at least {ByteSize.RoundedUp(end + FirmwareHandover.ReservedAtTop)}");
        }

        _ = PlaceInitrd(plan, layout);
    }

    internal override EntryState Place(BootPlan plan, GuestMemory memory, PlatformLayout layout, ulong rsdp) =>
        throw new InvalidOperationException("firmware starts this kernel");

    internal override FirmwareHandover HandOver(BootPlan plan, PlatformLayout layout)
    {
        byte[] setup = [.. _setup];
        ulong initrd = PlaceInitrd(plan, layout);
        setup[BzImageHeader.TypeOfLoaderOffset] = BzImageHeader.UndefinedLoader;
        setup[BzImageHeader.LoadFlagsOffset] |= BzImageHeader.CanUseHeap;
        BinaryPrimitives.WriteUInt16LittleEndian(setup.AsSpan(BzImageHeader.HeapEndPtrOffset), HeapEnd);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(BzImageHeader.CmdLinePtrOffset), (uint)LowMemory.CommandLine);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(BzImageHeader.RamdiskImageOffset), (uint)initrd);
        BinaryPrimitives.WriteUInt32LittleEndian(setup.AsSpan(BzImageHeader.RamdiskSizeOffset), (uint)(plan.Initrd?.Length ?? 0));
        List<BootPiece> pieces =
        [
            new(SetupAddress, setup),
            new(LowMemory.CommandLine, EncodeCommandLine(plan.CommandLine)),
            new(PlatformLayout.OneMebibyte, _kernel),
        ];
        if (plan.Initrd is not null)
        {
            pieces.Add(new BootPiece(initrd, plan.Initrd.Read()));
        }

        return FirmwareHandover.Create(pieces, EntryState.Real16(EntrySegment, SetupSegment, StackTop));
    }

    private static BootException Truncated(ImageFile file, string how) => new($"{file.Name} is truncated: {how}; fetch a complete copy");

    private ulong PlaceInitrd(BootPlan plan, PlatformLayout layout) => plan.Initrd is null
        ? 0
        : plan.Initrd.PlaceBelow(PlatformLayout.OneMebibyte + (ulong)_kernel.Length, (ulong)_header.InitrdAddrMax + 1, layout.RamBelow4G - FirmwareHandover.ReservedAtTop);
}
