using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// A Linux bzImage, entered by the 64-bit boot protocol, or by the 32-bit one if it has no 64-bit entry point
/// (Documentation/arch/x86/boot.rst).
/// </summary>
public sealed class BzImage : KernelImage
{
    private const ulong SectorSize = 512;

    /// <summary>A setup_sects of 0 stands for this many.</summary>
    private const ulong DefaultSetupSectors = 4;

    /// <summary>startup_64 stands here in the protected-mode kernel.</summary>
    private const ulong Entry64Offset = 0x200;

    private const ushort OldestVersion = 0x0206;
    private const ushort PrefAddressVersion = 0x020A;
    private const ushort XLoadFlagsVersion = 0x020C;
    private const uint ParagraphSize = 16;

    private readonly BzImageHeader _header;

    /// <summary>Offset and size of the protected-mode kernel in the file.</summary>
    private readonly ulong _kernelOffset;
    private readonly ulong _kernelSize;

    private BzImage(ImageFile file, BzImageHeader header, ulong kernelOffset, ulong kernelSize) : base(file)
    {
        _header = header;
        _kernelOffset = kernelOffset;
        _kernelSize = kernelSize;
    }

    public override string Protocol =>
        $"Linux {(Is64Bit ? 64 : 32)}-bit boot protocol {Version.Major}.{Version.Minor:00}";

    public override int CommandLineLimit =>
        (int)Math.Min(_header.CmdlineSize == 0 ? 255 : _header.CmdlineSize, LowMemory.CommandLineRoom - 1);

    /// <summary>Version of the boot protocol that the kernel speaks.</summary>
    public Version Version => new(_header.Version >> 8, _header.Version & 0xFF);

    /// <summary>True if the kernel has a 64-bit entry point (XLF_KERNEL_64).</summary>
    public bool Is64Bit => _header.Version >= XLoadFlagsVersion && (_header.XLoadFlags & BzImageHeader.XlfKernel64) != 0;

    /// <summary>Where the protected-mode kernel is loaded: its preferred address, or 1 MiB for old kernels.</summary>
    public ulong LoadAddress => _header.Version >= PrefAddressVersion ? _header.PrefAddress : PlatformLayout.OneMebibyte;

    /// <summary>Bytes that the kernel needs from its load address on until it has read the memory map.</summary>
    public ulong InitSize => Math.Max(_header.Version >= PrefAddressVersion ? _header.InitSize : 0, _kernelSize);

    internal static bool HasSignature(ImageFile file)
    {
        Span<byte> signature = stackalloc byte[4];
        return file.TryRead(BzImageHeader.SignatureOffset, signature)
            && BinaryPrimitives.ReadUInt32LittleEndian(signature) == BzImageHeader.Signature;
    }

    internal static BzImage Parse(ImageFile file)
    {
        byte[] prefix = new byte[BzImageHeader.PrefixLength];
        if (!file.TryRead(0, prefix))
        {
            throw Truncated(file, "its setup header is incomplete");
        }

        var header = new BzImageHeader(prefix);
        if (BinaryPrimitives.ReadUInt16LittleEndian(prefix.AsSpan(BzImageHeader.BootFlagOffset)) != BzImageHeader.BootFlag)
        {
            throw new BootException($"{file.Name} is damaged: its setup header has no AA55 boot flag; give an intact bzImage");
        }

        if (header.Version < OldestVersion)
        {
            throw new BootException(
                $"{file.Name} speaks Linux boot protocol {header.Version >> 8}.{header.Version & 0xFF:00}, but at least 2.06 is needed; use Linux 2.6.22 or newer");
        }

        if ((header.LoadFlags & BzImageHeader.LoadedHigh) == 0)
        {
            throw new BootException($"{file.Name} is a zImage that loads below 1 MiB; give a bzImage");
        }

        ulong setupSectors = header.SetupSects == 0 ? DefaultSetupSectors : (ulong)header.SetupSects;
        ulong kernelOffset = (1 + setupSectors) * SectorSize;
        if (file.Length <= kernelOffset)
        {
            throw Truncated(file, $"it has {file.Length} bytes, its setup code alone has {kernelOffset}");
        }

        ulong rest = file.Length - kernelOffset;
        ulong declared = (ulong)header.SysSize * ParagraphSize;
        if (declared > rest && declared - rest >= ParagraphSize)
        {
            throw Truncated(file, $"it has {file.Length} bytes, its header promises {kernelOffset + declared}");
        }

        var image = new BzImage(file, header, kernelOffset, declared == 0 ? rest : Math.Min(declared, rest));
        image.CheckAddresses();
        return image;
    }

    internal override void Check(BootPlan plan, PlatformLayout layout)
    {
        EncodeCommandLine(plan.CommandLine);
        ulong end = LoadAddress + InitSize;
        if (end > layout.AcpiAreaStart)
        {
            throw new BootException(
                $"{ByteSize.Text(layout.MemorySize)} of memory is too small for the kernel {Name}; give the machine at least {ByteSize.RoundedUp(end + PlatformLayout.AcpiAreaSize)}");
        }

        PlaceInitrd(plan, layout);
    }

    internal override EntryState Place(BootPlan plan, GuestMemory memory, PlatformLayout layout, ulong rsdp)
    {
        byte[] commandLine = EncodeCommandLine(plan.CommandLine);
        ulong initrd = PlaceInitrd(plan, layout);
        File.CopyTo(memory, LoadAddress, _kernelOffset, _kernelSize);
        plan.Initrd?.Place(memory, initrd);
        memory.Write(LowMemory.CommandLine, commandLine);

        var parameters = new LinuxBootParams(_header)
        {
            LoadAddress = (uint)LoadAddress,
            CommandLine = (uint)LowMemory.CommandLine,
            RamdiskImage = (uint)initrd,
            RamdiskSize = (uint)(plan.Initrd?.Length ?? 0),
            SetupData = LinuxSetupData.Write(memory, plan.RngSeed.Span),
            AcpiRsdp = rsdp,
            MemoryMap = E820Map.Build(layout),
        };
        parameters.Write(memory);

        if (!Is64Bit)
        {
            BootGdt.Write(memory, EntryMode.Protected32);
            return EntryState.Protected32((uint)LoadAddress) with { Rsi = LowMemory.BootParams };
        }

        BootGdt.Write(memory, EntryMode.Long64);
        ulong cr3 = IdentityPageTables.Write(memory);
        return EntryState.Long64(LoadAddress + Entry64Offset, cr3) with { Rsi = LowMemory.BootParams };
    }

    private void CheckAddresses()
    {
        if (Is64Bit && _kernelSize <= Entry64Offset)
        {
            throw Truncated(File, "there is no code at its 64-bit entry point");
        }

        if (LoadAddress < PlatformLayout.OneMebibyte || LoadAddress + InitSize > PlatformLayout.PciHoleStart
            || LoadAddress > PlatformLayout.PciHoleStart)
        {
            throw new BootException(
                $"{Name} is damaged: its header asks for 0x{InitSize:x} bytes at 0x{LoadAddress:x}, which no machine here has; give an intact bzImage");
        }
    }

    private ulong PlaceInitrd(BootPlan plan, PlatformLayout layout) =>
        plan.Initrd is null
            ? 0
            : plan.Initrd.PlaceBelow(LoadAddress + InitSize, (ulong)_header.InitrdAddrMax + 1, layout.AcpiAreaStart);

    private static BootException Truncated(ImageFile file, string how) =>
        new($"{file.Name} is truncated: {how}; fetch a complete copy");
}
