namespace Vivarium.Devices;

/// <summary>IDENTIFY PACKET DEVICE (ATA8-ACS, 7.17), and the drive's state record.</summary>
public sealed unsafe partial class AtapiDrive
{
    private const string Model = MmcDrive.Vendor + " " + MmcDrive.Product;

    /// <summary>The data that is offered is that of IDENTIFY PACKET DEVICE.</summary>
    private bool _isIdentify;

    private void Identify()
    {
        var data = Buffer[..SectorSize];
        data.Clear();

        // 0: packet device, CD-ROM, removable, asks for the packet within 50 us, packets of 12 bytes.
        IdentifyWords.Set(data, 0, 0x85C0);
        IdentifyWords.SetText(data, IdentifyWords.Serial, IdentifyWords.SerialLength, _serial);
        IdentifyWords.SetText(data, IdentifyWords.Firmware, IdentifyWords.FirmwareLength, MmcDrive.Revision);
        IdentifyWords.SetText(data, IdentifyWords.Model, IdentifyWords.ModelLength, Model);

        // 49: IORDY, LBA, DMA; 51: PIO timing of old; 53: words 64-70 and 88 are valid.
        IdentifyWords.Set(data, 49, 0x0B00);
        IdentifyWords.Set(data, 50, 0x4000);
        IdentifyWords.Set(data, 51, 0x0200);
        IdentifyWords.Set(data, 53, 0x0006);
        IdentifyWords.Set(data, 63, IdentifyWords.Modes(TransferMode.MaxMultiword, TransferMode.MultiwordDma, _dmaMode));
        const ushort nanoseconds = 120;
        IdentifyWords.Set(data, 64, 0x0003);
        for (var word = 65; word <= 68; word++)
            IdentifyWords.Set(data, word, nanoseconds);

        // 80: ATA/ATAPI-4 to ATA8-ACS; 82 and 85: PACKET, DEVICE RESET, NOP, power management.
        const ushort features = 0x4218;
        IdentifyWords.Set(data, 80, 0x01F0);
        IdentifyWords.Set(data, 82, features);
        IdentifyWords.Set(data, 83, 0x4000);
        IdentifyWords.Set(data, 84, 0x4000);
        IdentifyWords.Set(data, 85, features);
        IdentifyWords.Set(data, 87, 0x4000);
        IdentifyWords.Set(data, 88, IdentifyWords.Modes(TransferMode.MaxUltra, TransferMode.UltraDma, _dmaMode));

        // 93: the cable has 80 conductors, and the device has found out its number by the jumper.
        IdentifyWords.Set(data, 93, 0x6001);
        _isIdentify = true;
        OfferBlock(0, SectorSize);
    }

    internal override AtaDeviceState Save() => new()
    {
        Transfer = SaveTransfer(),
        DmaMode = _dmaMode,
        Packet = new AtapiState
        {
            Drive = _drive.Save(),
            ByteCountLimit = _limit,
            UsesDma = _usesDma,
            ExpectsPacket = _expectsPacket,
            IsIdentify = _isIdentify,
            Response = _isResponse ? [.. _drive.Response] : null,
            Block = _block,
            Left = _left,
            Position = _position,
            BufferStart = _bufferStart,
            BufferEnd = _bufferEnd,
        },
    };

    internal override void Restore(AtaDeviceState state)
    {
        StateFormat.Require(state is { Version: AtaDeviceState.CurrentVersion, Transfer: not null, Packet.Drive: not null }
            && IsConsistent(state.Packet!, state.Transfer!), "CD drive");
        var packet = state.Packet!;
        RestoreTransfer(state.Transfer!);
        _drive.Restore(packet.Drive!);
        _drive.RestoreResponse(packet.Response ?? []);
        _dmaMode = state.DmaMode;
        _limit = packet.ByteCountLimit;
        _usesDma = packet.UsesDma;
        _expectsPacket = packet.ExpectsPacket;
        _isIdentify = packet.IsIdentify;
        _isResponse = packet.Response is not null;
        _block = packet.Block;
        _left = packet.Left;
        _position = packet.Position;
        _bufferStart = packet.BufferStart;
        _bufferEnd = packet.BufferEnd;
    }

    /// <summary>What is left of a response lies in it, and what is buffered in the buffer; where blocks lie is looked at when they are read.</summary>
    private static bool IsConsistent(AtapiState packet, AtaTransferState transfer)
    {
        const ulong most = (ulong)uint.MaxValue * MmcDrive.BlockSize;
        if (packet.ByteCountLimit is < 0 or > MaxByteCount || packet.Left > most || packet.Position > most
            || packet.Response?.Length > MmcDrive.MaxResponse || (transfer.Dma != 0 && transfer.DmaLeft != packet.Left))
            return false;
        if (packet.Response is { } response && packet.Position + packet.Left > (ulong)response.Length)
            return false;
        var isOffering = transfer.Pio == (byte)DmaDirection.ToMemory && !packet.IsIdentify;
        return !isOffering || (packet.ByteCountLimit != 0 && packet.BufferStart >= 0 && packet.BufferStart < packet.BufferEnd
            && packet.BufferEnd <= BufferSectors * SectorSize && (ulong)(packet.BufferEnd - packet.BufferStart) <= packet.Left);
    }
}
