namespace Vivarium.Devices;

/// <summary>
/// What a device keeps of the command block registers that the host writes (ATA8-ACS, 6). Those that 48-bit commands need
/// twice remember what was in them before: the "previous content", which the host reads with HOB.
/// </summary>
internal struct AtaRegisters
{
    /// <summary>Offsets from the first command block port.</summary>
    public const int Data = 0, ErrorOrFeatures = 1, Count = 2, LbaLow = 3, LbaMid = 4, LbaHigh = 5, Device = 6, StatusOrCommand = 7;

    /// <summary>DEV: which of the two devices is selected.</summary>
    public const byte DeviceSelect = 1 << 4;

    /// <summary>LBA: the address is a sector's number and not cylinder, head and sector.</summary>
    public const byte LbaMode = 1 << 6;

    /// <summary>Features, Count, LBA Low, Mid and High, Device: once as they are now, once as they were.</summary>
    public const int Size = 2 * Each;

    private const int Each = Device;
    private const byte HeadMask = 0x0F;

    [System.Runtime.CompilerServices.InlineArray(Size)]
    private struct Storage
    {
        private byte _first;
    }

    private Storage _bytes;

    /// <summary>Features, or one of the others, as the host wrote it last.</summary>
    public readonly byte this[int register] => _bytes[register - ErrorOrFeatures];

    /// <summary>The low four bits of Device: a head's number, or the address's bits 27:24.</summary>
    public readonly byte Head => (byte)(this[Device] & HeadMask);

    /// <summary>The 28-bit address.</summary>
    public readonly ulong Lba28 => this[LbaLow] | (uint)this[LbaMid] << 8 | (uint)this[LbaHigh] << 16 | (uint)Head << 24;

    /// <summary>The 48-bit address.</summary>
    public readonly ulong Lba48 => this[LbaLow] | (uint)this[LbaMid] << 8 | (uint)this[LbaHigh] << 16
        | (ulong)(Previous(LbaLow) | (uint)Previous(LbaMid) << 8 | (uint)Previous(LbaHigh) << 16) << 24;

    /// <summary>Count for 28-bit commands: 0 means 256.</summary>
    public readonly uint Count28 => this[Count] is var count and not 0 ? count : 256u;

    /// <summary>Count for 48-bit commands: 0 means 65536.</summary>
    public readonly uint Count48 => Raw48 is var count and not 0 ? count : 65536u;

    /// <summary>Count for 48-bit commands as it stands.</summary>
    public readonly uint Raw48 => this[Count] | (uint)Previous(Count) << 8;

    public readonly byte Previous(int register) => _bytes[Each + register - ErrorOrFeatures];

    /// <summary>The host writes; what was there becomes the previous content.</summary>
    public void Write(int register, byte value)
    {
        var index = register - ErrorOrFeatures;
        _bytes[Each + index] = _bytes[index];
        _bytes[index] = value;
    }

    /// <summary>The device writes an address into its registers; Device keeps its upper bits.</summary>
    public void SetLba28(ulong lba)
    {
        Set(LbaLow, (byte)lba);
        Set(LbaMid, (byte)(lba >> 8));
        Set(LbaHigh, (byte)(lba >> 16));
        Set(Device, (byte)((this[Device] & ~HeadMask) | (byte)(lba >> 24) & HeadMask));
    }

    public void SetLba48(ulong lba)
    {
        Set(LbaLow, (byte)lba);
        Set(LbaMid, (byte)(lba >> 8));
        Set(LbaHigh, (byte)(lba >> 16));
        _bytes[Each + LbaLow - ErrorOrFeatures] = (byte)(lba >> 24);
        _bytes[Each + LbaMid - ErrorOrFeatures] = (byte)(lba >> 32);
        _bytes[Each + LbaHigh - ErrorOrFeatures] = (byte)(lba >> 40);
    }

    public void SetChs(uint cylinder, uint head, uint sector)
    {
        Set(LbaLow, (byte)sector);
        Set(LbaMid, (byte)cylinder);
        Set(LbaHigh, (byte)(cylinder >> 8));
        Set(Device, (byte)((this[Device] & ~HeadMask) | (byte)head & HeadMask));
    }

    /// <summary>The device changes a register; there is no previous content of that.</summary>
    public void Set(int register, byte value) => _bytes[register - ErrorOrFeatures] = value;

    public readonly byte[] Save() => ((ReadOnlySpan<byte>)_bytes).ToArray();

    public void Restore(ReadOnlySpan<byte> bytes) => bytes[..Size].CopyTo(_bytes);
}
