using System.Buffers.Binary;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// The Linux setup header, "The Real-Mode Kernel Header" in Documentation/arch/x86/boot.rst. The offsets are those of the
/// file and of boot_params alike.
/// </summary>
internal readonly struct BzImageHeader
{
    public const int SetupSectsOffset = 0x1F1;
    public const int SysSizeOffset = 0x1F4;
    public const int BootFlagOffset = 0x1FE;
    public const int JumpOffset = 0x200;
    public const int SignatureOffset = 0x202;
    public const int VersionOffset = 0x206;
    public const int TypeOfLoaderOffset = 0x210;
    public const int LoadFlagsOffset = 0x211;
    public const int Code32StartOffset = 0x214;
    public const int RamdiskImageOffset = 0x218;
    public const int RamdiskSizeOffset = 0x21C;
    public const int HeapEndPtrOffset = 0x224;
    public const int CmdLinePtrOffset = 0x228;
    public const int InitrdAddrMaxOffset = 0x22C;
    public const int KernelAlignmentOffset = 0x230;
    public const int RelocatableKernelOffset = 0x234;
    public const int XLoadFlagsOffset = 0x236;
    public const int CmdlineSizeOffset = 0x238;
    public const int SetupDataOffset = 0x250;
    public const int PrefAddressOffset = 0x258;
    public const int InitSizeOffset = 0x260;

    /// <summary>One past the last byte that a header can occupy in boot_params (edd_mbr_sig_buffer follows).</summary>
    public const int MaximumEnd = 0x290;

    /// <summary>The file up to here is enough to read every field.</summary>
    public const int PrefixLength = MaximumEnd;

    public const uint Signature = 0x5372_6448;
    public const ushort BootFlag = 0xAA55;
    public const byte LoadedHigh = 1 << 0;
    public const byte CanUseHeap = 1 << 7;
    public const ushort XlfKernel64 = 1 << 0;

    /// <summary>A loader without an assigned number.</summary>
    public const byte UndefinedLoader = 0xFF;

    private readonly byte[] _prefix;

    /// <param name="prefix">The first <see cref="PrefixLength"/> bytes of the file, zeros where it is shorter.</param>
    public BzImageHeader(byte[] prefix) => _prefix = prefix;

    public byte SetupSects => _prefix[SetupSectsOffset];
    public uint SysSize => U32(SysSizeOffset);
    public ushort Version => U16(VersionOffset);
    public byte LoadFlags => _prefix[LoadFlagsOffset];
    public uint InitrdAddrMax => U32(InitrdAddrMaxOffset);
    public uint KernelAlignment => U32(KernelAlignmentOffset);
    public bool RelocatableKernel => _prefix[RelocatableKernelOffset] != 0;
    public uint CmdlineSize => U32(CmdlineSizeOffset);

    /// <summary>Since version 2.10.</summary>
    public ulong PrefAddress => BinaryPrimitives.ReadUInt64LittleEndian(_prefix.AsSpan(PrefAddressOffset));

    /// <summary>Since version 2.10.</summary>
    public uint InitSize => U32(InitSizeOffset);

    /// <summary>Since version 2.12.</summary>
    public ushort XLoadFlags => U16(XLoadFlagsOffset);

    /// <summary>The header ends where the jump over it goes.</summary>
    public int End => Math.Min(SignatureOffset + _prefix[JumpOffset + 1], MaximumEnd);

    /// <summary>The header's bytes, for boot_params at <see cref="SetupSectsOffset"/>.</summary>
    public ReadOnlySpan<byte> Bytes => _prefix.AsSpan(SetupSectsOffset..End);

    private ushort U16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_prefix.AsSpan(offset));

    private uint U32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_prefix.AsSpan(offset));
}
