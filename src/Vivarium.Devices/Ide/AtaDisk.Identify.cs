using System.Buffers.Binary;
using System.Numerics;

namespace Vivarium.Devices;

/// <summary>What a disk says of itself: IDENTIFY DEVICE (ATA8-ACS, 7.16). Numbers in comments are words.</summary>
public sealed unsafe partial class AtaDisk
{
    private const string Model = "HARDDISK";
    private const string Firmware = "1.0";

    private const int ModelWord = 27;
    private const int ModelLength = 40;
    private const int FirmwareWord = 23;
    private const int FirmwareLength = 8;
    private const int SerialWord = 10;

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
        Set(data, 0, 0x0040);
        Set(data, 1, (ushort)DefaultCylinders);
        Set(data, 3, DefaultHeads);
        Set(data, 6, DefaultSectorsPerTrack);
        SetText(data, SerialWord, SerialLength, _serial);
        SetText(data, FirmwareWord, FirmwareLength, Firmware);
        SetText(data, ModelWord, ModelLength, Model);
        Set(data, 47, 0x8000 | MaxMultiple);

        // Standby timer, IORDY, LBA, DMA.
        Set(data, 49, 0x2B00);
        Set(data, 50, Valid);

        // 51: PIO timing of old; 53: words 54-58, 64-70 and 88 are valid.
        Set(data, 51, 0x0200);
        Set(data, 53, 0x0007);
        Set(data, 54, (ushort)Cylinders);
        Set(data, 55, (ushort)_heads);
        Set(data, 56, (ushort)_sectorsPerTrack);
        Set32(data, 57, chsSectors);
        Set(data, 59, (ushort)(_multiple == 0 ? 0 : 0x0100 | _multiple));
        Set32(data, 60, sectors28);
        Set(data, 63, Modes(MaxMultiwordMode, MultiwordDma));

        // 64: PIO modes 3 and 4; 65-68: their cycle times in nanoseconds.
        const ushort nanoseconds = 120;
        Set(data, 64, 0x0003);
        for (var word = 65; word <= 68; word++)
            Set(data, word, nanoseconds);

        // 69: what is trimmed may read as anything; 80: ATA/ATAPI-4 to ATA8-ACS.
        Set(data, 80, 0x01F0);
        SetFeatureWords(data);
        Set(data, 88, Modes(MaxUltraMode, UltraDma));

        // 93: the cable has 80 conductors, and the device has found out its number by the jumper.
        Set(data, 93, 0x6001);
        BinaryPrimitives.WriteUInt64LittleEndian(data[(100 * sizeof(ushort))..], Sectors);
        if (CanTrim)
        {
            Set(data, 105, MaxTrimBlocks);
            Set(data, 169, TrimBit);
        }

        // 106: physical sectors are so many logical ones; 209: the first begins at sector 0.
        var physical = BitOperations.Log2(Math.Max(1, _backend.PhysicalBlockSize / SectorSize));
        Set(data, 106, (ushort)(Valid | (physical != 0 ? 1 << 13 : 0) | physical));
        Set(data, 209, Valid);

        // 217: nothing rotates; 255: signature, and what makes the sum of all bytes zero.
        Set(data, 217, 1);
        data[510] = 0xA5;
        byte sum = 0;
        foreach (var value in data)
            sum += value;
        data[511] = (byte)-sum;
    }

    private void SetFeatureWords(Span<byte> data)
    {
        const ushort word82 = NopCommand | LookAheadFeature | WriteCacheFeature | PowerManagement;
        const ushort word83 = FlushCacheExtCommand | FlushCacheCommand | Address48Bit;
        Set(data, 82, word82);
        Set(data, 83, word83 | Valid);
        Set(data, 84, WriteFua | Valid);
        Set(data, 85, (ushort)(NopCommand | PowerManagement | (_lookAhead ? LookAheadFeature : 0) | (_writeCache ? WriteCacheFeature : 0)));
        Set(data, 86, word83);
        Set(data, 87, WriteFua | Valid);
    }

    /// <summary>Supported modes in the lower byte, the selected one in the upper, if it is of this kind.</summary>
    private ushort Modes(int highest, byte kind)
    {
        var supported = (2 << highest) - 1;
        var selected = (_dmaMode & ~ModeNumber) == kind ? 1 << (_dmaMode & ModeNumber) : 0;
        return (ushort)(selected << 8 | supported);
    }

    private static void Set(Span<byte> data, int word, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(data[(word * sizeof(ushort))..], value);

    private static void Set32(Span<byte> data, int word, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(data[(word * sizeof(ushort))..], value);

    /// <summary>Text stands with the first character of each pair in the upper byte, filled up with blanks.</summary>
    private static void SetText(Span<byte> data, int word, int length, string text)
    {
        for (var i = 0; i < length; i++)
            data[word * sizeof(ushort) + (i ^ 1)] = i < text.Length ? (byte)text[i] : (byte)' ';
    }
}
