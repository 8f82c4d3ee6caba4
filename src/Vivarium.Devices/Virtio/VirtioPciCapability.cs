using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>struct virtio_pci_cap (virtio 1.2, 4.1.4): where in which BAR a part of the interface lies.</summary>
/// <param name="type">cfg_type.</param>
/// <param name="notifyMultiplier">notify_off_multiplier, for the notification capability only.</param>
internal sealed class VirtioPciCapability(byte type, byte bar, uint offset, uint length, uint? notifyMultiplier = null)
    : PciCapability(VendorSpecific, notifyMultiplier is null ? BaseLength : BaseLength + sizeof(uint))
{
    public const byte VendorSpecific = 0x09;
    public const int BaseLength = 16;

    public const int LengthOffset = 2;
    public const int TypeOffset = 3;
    public const int BarOffset = 4;
    public const int AddressOffset = 8;
    public const int SizeOffset = 12;

    public override void Initialize(Span<byte> registers, Span<byte> writable)
    {
        registers[LengthOffset] = (byte)Length;
        registers[TypeOffset] = type;
        registers[BarOffset] = bar;
        BinaryPrimitives.WriteUInt32LittleEndian(registers[AddressOffset..], offset);
        BinaryPrimitives.WriteUInt32LittleEndian(registers[SizeOffset..], length);
        if (notifyMultiplier is { } multiplier)
            BinaryPrimitives.WriteUInt32LittleEndian(registers[BaseLength..], multiplier);
    }
}

/// <summary>
/// The window through which a driver reaches the BAR from configuration space, before memory decoding is on
/// (VIRTIO_PCI_CAP_PCI_CFG, 4.1.4.9).
/// </summary>
internal sealed class VirtioPciAccessCapability(IMmioDevice target, byte bar, ulong barSize)
    : PciCapability(VirtioPciCapability.VendorSpecific, DataOffset + sizeof(uint))
{
    private const byte AccessConfiguration = 5;
    private const int DataOffset = VirtioPciCapability.BaseLength;

    public override void Initialize(Span<byte> registers, Span<byte> writable)
    {
        registers[VirtioPciCapability.LengthOffset] = (byte)Length;
        registers[VirtioPciCapability.TypeOffset] = AccessConfiguration;
        writable[VirtioPciCapability.BarOffset] = 0xFF;
        writable[VirtioPciCapability.AddressOffset..].Fill(0xFF);
    }

    public override void Reading(Span<byte> registers, int offset, int size)
    {
        if (offset >= DataOffset && Selected(registers, out var address, out var length))
            BinaryPrimitives.WriteUInt32LittleEndian(registers[DataOffset..], (uint)target.ReadMmio(address, length) & Mask(length));
    }

    public override void Written(Span<byte> registers, int offset, int size)
    {
        if (offset < DataOffset || !Selected(registers, out var address, out var length))
            return;
        target.WriteMmio(address, length, BinaryPrimitives.ReadUInt32LittleEndian(registers[DataOffset..]) & Mask(length));
    }

    private static uint Mask(int length) => uint.MaxValue >> (8 * (sizeof(uint) - length));

    /// <summary>False unless the driver has asked for an aligned access of 1, 2 or 4 bytes inside the BAR.</summary>
    private bool Selected(ReadOnlySpan<byte> registers, out uint address, out int length)
    {
        address = BinaryPrimitives.ReadUInt32LittleEndian(registers[VirtioPciCapability.AddressOffset..]);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(registers[VirtioPciCapability.SizeOffset..]);
        length = (int)size;
        return registers[VirtioPciCapability.BarOffset] == bar && size is 1 or 2 or 4
            && address % size == 0 && address <= barSize - size;
    }
}
