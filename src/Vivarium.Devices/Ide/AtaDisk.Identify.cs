using System.Buffers.Binary;
using System.Numerics;

namespace Vivarium.Devices;

/// <summary>What a disk says of itself: IDENTIFY DEVICE (ATA8-ACS, 7.16). Numbers in comments are words.</summary>
public sealed unsafe partial class AtaDisk
{
    private const string Model = "HARDDISK";
    private const string Firmware = "1.0";

    private const uint MaxLba28Sectors = 0x0FFF_FFFF;

    /// <summary>82-87, supported and enabled: the bit that says that a word means anything.</summary>
    private const ushort Valid = 1 << 14;

    // 82 and 85.
    private const ushort NopCommand = 1 << 14;
    private const ushort LookAheadFeature = 1 << 6;
    private const ushort WriteCacheFeature = 1 << 5;
    private const ushort PowerManagement = 1 << 3;

    // 83 and 86.
    private const ushort FlushCacheExtCommand = 1 << 13;
    private const ushort FlushCacheCommand = 1 << 12;
    private const ushort Address48Bit = 1 << 10;

    // 84 and 87.
    private const ushort WriteFua = 1 << 6;
    private const ushort GeneralPurposeLogging = 1 << 5;

    private void Identify()
    {
        var data = Buffer[..SectorSize];
        data.Clear();
        FillIdentify(data);
        OfferBlock(0, SectorSize);
    }

    private void FillIdentify(Span<byte> data)
    {
        var sectors28 = (uint)Math.Min(Sectors, MaxLba28Sectors);
        var chsSectors = (uint)(Cylinders * _heads * _sectorsPerTrack);
        IdentifyWords.Set(data, 0, 0x0040);
        IdentifyWords.Set(data, 1, (ushort)DefaultCylinders);
        IdentifyWords.Set(data, 3, DefaultHeads);
        IdentifyWords.Set(data, 6, DefaultSectorsPerTrack);
        IdentifyWords.SetText(data, IdentifyWords.Serial, SerialLength, _serial);
        IdentifyWords.SetText(data, IdentifyWords.Firmware, IdentifyWords.FirmwareLength, Firmware);
        IdentifyWords.SetText(data, IdentifyWords.Model, IdentifyWords.ModelLength, Model);
        IdentifyWords.Set(data, 47, 0x8000 | MaxMultiple);

        // Standby timer, IORDY, LBA, DMA.
        IdentifyWords.Set(data, 49, 0x2B00);
        IdentifyWords.Set(data, 50, Valid);

        // 51: PIO timing of old; 53: words 54-58, 64-70 and 88 are valid.
        IdentifyWords.Set(data, 51, 0x0200);
        IdentifyWords.Set(data, 53, 0x0007);
        IdentifyWords.Set(data, 54, (ushort)Cylinders);
        IdentifyWords.Set(data, 55, (ushort)_heads);
        IdentifyWords.Set(data, 56, (ushort)_sectorsPerTrack);
        IdentifyWords.Set32(data, 57, chsSectors);
        IdentifyWords.Set(data, 59, (ushort)(_multiple == 0 ? 0 : 0x0100 | _multiple));
        IdentifyWords.Set32(data, 60, sectors28);
        IdentifyWords.Set(data, 63, IdentifyWords.Modes(TransferMode.MaxMultiword, TransferMode.MultiwordDma, _dmaMode));

        // 64: PIO modes 3 and 4; 65-68: their cycle times in nanoseconds.
        const ushort nanoseconds = 120;
        IdentifyWords.Set(data, 64, 0x0003);
        for (var word = 65; word <= 68; word++)
            IdentifyWords.Set(data, word, nanoseconds);

        // 69: what is trimmed may read as anything; 80: ATA/ATAPI-4 to ATA8-ACS.
        IdentifyWords.Set(data, 80, 0x01F0);
        SetFeatureWords(data);
        IdentifyWords.Set(data, 88, IdentifyWords.Modes(TransferMode.MaxUltra, TransferMode.UltraDma, _dmaMode));

        // 93: the cable has 80 conductors, and the device has found out its number by the jumper.
        IdentifyWords.Set(data, 93, (ushort)(_isSerialAta ? 0 : 0x6001));
        if (_isSerialAta)
            FillSerialWords(data);
        BinaryPrimitives.WriteUInt64LittleEndian(data[(100 * sizeof(ushort))..], Sectors);
        if (CanTrim)
        {
            IdentifyWords.Set(data, 105, MaxTrimBlocks);
            IdentifyWords.Set(data, 169, TrimBit);
        }

        // 106: physical sectors are so many logical ones; 209: the first begins at sector 0.
        var physical = BitOperations.Log2(Math.Max(1, _backend.PhysicalBlockSize / SectorSize));
        IdentifyWords.Set(data, 106, (ushort)(Valid | (physical != 0 ? 1 << 13 : 0) | physical));
        IdentifyWords.Set(data, 209, Valid);

        // 217: nothing rotates; 255: signature, and what makes the sum of all bytes zero.
        IdentifyWords.Set(data, 217, 1);
        data[510] = 0xA5;
        byte sum = 0;
        foreach (var value in data)
            sum += value;
        data[511] = (byte)-sum;
    }

    /// <summary>Serial ATA (75-79 and 222): 32 queued commands, 1.5 and 3 Gbit/s.</summary>
    private static void FillSerialWords(Span<byte> data)
    {
        IdentifyWords.Set(data, 75, 31);
        IdentifyWords.Set(data, 76, 0x0106);
        IdentifyWords.Set(data, 222, 0x101F);
    }

    private void SetFeatureWords(Span<byte> data)
    {
        const ushort word82 = NopCommand | LookAheadFeature | WriteCacheFeature | PowerManagement;
        const ushort word83 = FlushCacheExtCommand | FlushCacheCommand | Address48Bit;
        IdentifyWords.Set(data, 82, word82);
        IdentifyWords.Set(data, 83, word83 | Valid);
        var word84 = (ushort)(WriteFua | Valid | (_isSerialAta ? GeneralPurposeLogging : 0));
        IdentifyWords.Set(data, 84, word84);
        IdentifyWords.Set(data, 85, (ushort)(NopCommand | PowerManagement | (_lookAhead ? LookAheadFeature : 0) | (_writeCache ? WriteCacheFeature : 0)));
        IdentifyWords.Set(data, 86, word83);
        IdentifyWords.Set(data, 87, word84);
    }
}
