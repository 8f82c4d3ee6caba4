namespace Vivarium.Devices;

/// <summary>What the drive says of the disc: capacity, table of contents, information.</summary>
internal sealed partial class MmcDrive
{
    private const uint FramesPerSecond = 75;

    /// <summary>Block 0 stands two seconds after the beginning of the program area.</summary>
    private const uint PregapFrames = 2 * FramesPerSecond;

    private const byte FirstTrack = 1;
    private const byte LeadOut = 0xAA;

    /// <summary>ADR 1 (position), control 4 (data, no copy permitted).</summary>
    private const byte DataTrack = 0x14;

    private MmcOutcome ReadCapacity()
    {
        const int length = 8;
        if (!IsReady)
            return FailNotReady();
        var data = Begin();
        Write32(data, 0, BlockCount - 1);
        Write32(data, 4, BlockSize);
        return Respond(length, length);
    }

    /// <summary>READ TOC/PMA/ATIP (MMC-6, 6.25): formats 0 to 2.</summary>
    private MmcOutcome ReadToc(ReadOnlySpan<byte> packet)
    {
        if (!IsReady)
            return FailNotReady();
        var isTime = (packet[1] & 2) != 0;

        // SFF-8020i has the format in the uppermost bits of byte 9.
        var format = (packet[2] & 0xF) is var modern and not 0 ? modern : packet[9] >> 6;
        var wanted = Read16(packet, 7);
        return format switch
        {
            0 => ReadTracks(packet[6], isTime, wanted),
            1 => ReadSessions(isTime, wanted),
            2 => ReadFullToc(wanted),
            _ => Fail(Sense.InvalidField),
        };
    }

    private MmcOutcome ReadTracks(byte from, bool isTime, uint wanted)
    {
        if (from > FirstTrack && from != LeadOut)
            return Fail(Sense.InvalidField);
        var data = Begin();
        data[2] = FirstTrack;
        data[3] = FirstTrack;
        var length = 4;
        if (from <= FirstTrack)
            length += FillTrack(data[length..], FirstTrack, 0, isTime);
        length += FillTrack(data[length..], LeadOut, BlockCount, isTime);
        Write16(data, 0, length - 2);
        return Respond(length, wanted);
    }

    private MmcOutcome ReadSessions(bool isTime, uint wanted)
    {
        var data = Begin();
        data[2] = FirstTrack;
        data[3] = FirstTrack;
        var length = 4 + FillTrack(data[4..], FirstTrack, 0, isTime);
        Write16(data, 0, length - 2);
        return Respond(length, wanted);
    }

    /// <summary>What stands in the lead-in: first track, last track, where the lead-out begins, and the track. Times are binary.</summary>
    private MmcOutcome ReadFullToc(uint wanted)
    {
        const byte firstTrackPoint = 0xA0, lastTrackPoint = 0xA1, leadOutPoint = 0xA2;
        const int entryLength = 11;
        var data = Begin();
        data[2] = 1;
        data[3] = 1;
        var length = 4;
        foreach (var point in (ReadOnlySpan<byte>)[firstTrackPoint, lastTrackPoint, leadOutPoint, FirstTrack])
        {
            var entry = data.Slice(length, entryLength);
            entry[0] = 1;
            entry[1] = DataTrack;
            entry[3] = point;
            if (point is firstTrackPoint or lastTrackPoint)
                entry[8] = FirstTrack;
            else
                SetTime(entry[8..], point == leadOutPoint ? BlockCount : 0);
            length += entryLength;
        }

        Write16(data, 0, length - 2);
        return Respond(length, wanted);
    }

    private static int FillTrack(Span<byte> entry, byte track, uint block, bool isTime)
    {
        entry[1] = DataTrack;
        entry[2] = track;
        if (isTime)
            SetTime(entry[5..], block);
        else
            Write32(entry, 4, block);
        return 8;
    }

    /// <summary>Minute, second, frame.</summary>
    private static void SetTime(Span<byte> field, uint block)
    {
        var frames = block + (ulong)PregapFrames;
        field[0] = (byte)(frames / FramesPerSecond / 60);
        field[1] = (byte)(frames / FramesPerSecond % 60);
        field[2] = (byte)(frames % FramesPerSecond);
    }

    /// <summary>READ SUB-CHANNEL (SFF-8020i, 10.8.20): nothing is ever played.</summary>
    private MmcOutcome ReadSubChannel(ReadOnlySpan<byte> packet)
    {
        const byte wantsData = 0x40, noAudioStatus = 0x15, currentPosition = 1;
        const int headerLength = 4, positionLength = 12;
        if (!IsReady)
            return FailNotReady();
        var data = Begin();
        data[1] = noAudioStatus;
        if ((packet[2] & wantsData) == 0)
            return Respond(headerLength, Read16(packet, 7));
        if (packet[3] != currentPosition)
            return Fail(Sense.InvalidField);
        Write16(data, 2, positionLength);
        data[4] = currentPosition;
        data[5] = DataTrack;
        data[6] = FirstTrack;
        data[7] = 1;
        if ((packet[1] & 2) != 0)
            SetTime(data[9..], 0);
        return Respond(headerLength + positionLength, Read16(packet, 7));
    }

    /// <summary>READ DISC INFORMATION (MMC-6, 6.21): a finalized disc of one session.</summary>
    private MmcOutcome ReadDiscInformation(ReadOnlySpan<byte> packet)
    {
        const int length = 34;
        const byte finalized = 0x0E, unrestricted = 0x20;
        if (!IsReady)
            return FailNotReady();
        if ((packet[1] & 7) != 0)
            return Fail(Sense.InvalidField);
        var data = Begin();
        Write16(data, 0, length - 2);
        data[2] = finalized;
        data[3] = FirstTrack;
        data[4] = 1;
        data[5] = FirstTrack;
        data[6] = FirstTrack;
        data[7] = unrestricted;

        // No further lead-in and lead-out can come.
        data.Slice(16, 8).Fill(0xFF);
        return Respond(length, Read16(packet, 7));
    }

    /// <summary>READ TRACK INFORMATION (MMC-6, 6.26).</summary>
    private MmcOutcome ReadTrackInformation(ReadOnlySpan<byte> packet)
    {
        const int length = 36;
        const int byBlock = 0, byTrack = 1, bySession = 2;
        const byte dataMode1 = 1, dataTrack = 4;
        if (!IsReady)
            return FailNotReady();
        var number = Read32(packet, 2);
        var exists = (packet[1] & 3) switch
        {
            byBlock => number < BlockCount,
            byTrack or bySession => number == FirstTrack,
            _ => false,
        };
        if (!exists)
            return Fail(Sense.InvalidField);
        var data = Begin();
        Write16(data, 0, length - 2);
        data[2] = FirstTrack;
        data[3] = 1;
        data[5] = dataTrack;
        data[6] = dataMode1;
        Write32(data, 24, BlockCount);
        return Respond(length, Read16(packet, 7));
    }

    /// <summary>READ DISC STRUCTURE (MMC-6, 6.22) for DVDs: physical format, copyright, manufacturer, and which of these there are.</summary>
    private MmcOutcome ReadDiscStructure(ReadOnlySpan<byte> packet)
    {
        const byte physicalFormat = 0, copyright = 1, manufacturer = 4, list = 0xFF;
        const uint dataStart = 0x3_0000;
        if (!IsReady)
            return FailNotReady();
        if (Profile != DvdRom)
            return Fail(Sense.IncompatibleMedium);
        if (packet[6] != 0 || (packet[1] & 0xF) != 0)
            return Fail(Sense.InvalidField);
        var data = Begin();
        int length;
        switch (packet[7])
        {
            case physicalFormat:
                // DVD-ROM part version 1; 120 mm at any rate; one layer of embossed data.
                length = 4 + 17;
                data[4] = 0x01;
                data[5] = 0x0F;
                data[6] = 0x01;
                Write32(data, 8, dataStart);
                Write32(data, 12, dataStart + BlockCount - 1);
                break;
            case copyright:
                length = 4 + 4;
                break;
            case manufacturer:
                length = 4 + BlockSize;
                break;
            case list:
                length = 4 + 3 * 4;
                for (var i = 0; i < 3; i++)
                {
                    const byte readable = 0x40;
                    var entry = data[(4 + 4 * i)..];
                    entry[0] = i switch { 0 => physicalFormat, 1 => copyright, _ => manufacturer };
                    entry[1] = readable;
                    Write16(entry, 2, i switch { 0 => 4 + 17, 1 => 4 + 4, _ => 4 + BlockSize });
                }

                break;
            default:
                return Fail(Sense.InvalidField);
        }

        Write16(data, 0, length - 2);
        return Respond(length, Read16(packet, 8));
    }
}
