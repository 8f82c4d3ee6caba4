using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// A CD and DVD-ROM drive by the commands it takes (MMC-6, SPC-3, and SFF-8020i for the systems of its time), whatever brings
/// them. A disc is one session with one track of data. Called under the lock of whatever the drive is connected to.
/// </summary>
internal sealed partial class MmcDrive
{
    /// <summary>A command packet's length (SFF-8020i, 5.6).</summary>
    public const int PacketLength = 12;

    /// <summary>Bytes of a block.</summary>
    public const int BlockSize = 2048;

    /// <summary>Room for the longest response: a DVD's manufacturing information.</summary>
    public const int MaxResponse = 4 + BlockSize;

    private readonly byte[] _response = new byte[MaxResponse];
    private int _responseLength;

    /// <param name="medium">The disc in the drive, of whole blocks; null for none.</param>
    /// <param name="isOpen">The tray is out.</param>
    public MmcDrive(IBlockBackend? medium, bool isOpen)
    {
        Medium = medium;
        IsOpen = isOpen;
        _resetAttention = true;
    }

    /// <summary>What <see cref="MmcOutcome.Data"/> speaks of, as much of it as the host has asked for.</summary>
    public ReadOnlySpan<byte> Response => _response.AsSpan(0, _responseLength);

    /// <summary>The blocks that <see cref="MmcOutcome.Blocks"/> speaks of: they are there.</summary>
    public uint Block { get; private set; }

    public uint Blocks { get; private set; }

    /// <summary>Why the last command has failed.</summary>
    public Sense Sense { get; private set; }

    /// <summary>Carries a command out, up to the point where data is to be moved.</summary>
    /// <param name="packet"><see cref="PacketLength"/> bytes.</param>
    public MmcOutcome Execute(ReadOnlySpan<byte> packet)
    {
        var command = (MmcCommand)packet[0];

        // These are answered whatever has happened to the drive (SPC-3, 5.3.2; MMC-6, 4.1.6.1).
        var isPatient = command is MmcCommand.Inquiry or MmcCommand.RequestSense or MmcCommand.GetConfiguration or MmcCommand.GetEventStatusNotification;
        if (!isPatient && TakeAttention() is { } attention)
            return Fail(attention);
        if (command != MmcCommand.RequestSense)
            Sense = Sense.None;
        switch (command)
        {
            case MmcCommand.TestUnitReady:
                return IsReady ? MmcOutcome.Good : FailNotReady();
            case MmcCommand.RequestSense:
                return RequestSense(packet);
            case MmcCommand.Inquiry:
                return Inquire(packet);
            case MmcCommand.ModeSense6:
                return SenseMode(packet, HeaderLength6, packet[4]);
            case MmcCommand.ModeSense10:
                return SenseMode(packet, HeaderLength10, Read16(packet, 7));
            case MmcCommand.StartStopUnit:
                return StartOrStop(packet[4]);
            case MmcCommand.PreventAllowMediumRemoval:
                IsLocked = (packet[4] & 1) != 0;
                return MmcOutcome.Good;
            case MmcCommand.GetConfiguration:
                return GetConfiguration(packet);
            case MmcCommand.GetEventStatusNotification:
                return GetEvents(packet);
            case MmcCommand.MechanismStatus:
                return TellMechanism(packet);
            case MmcCommand.SetCdSpeed:
                return MmcOutcome.Good;
            case MmcCommand.Read6:
                return ReadBlocks((Read32(packet, 0) & 0x1F_FFFF), packet[4] is var count and not 0 ? count : 256u);
            case MmcCommand.Read10:
                return ReadBlocks(Read32(packet, 2), Read16(packet, 7));
            case MmcCommand.Read12:
                return ReadBlocks(Read32(packet, 2), Read32(packet, 6));
            case MmcCommand.ReadCd:
                return ReadCd(packet);
            case MmcCommand.Seek10:
                return !IsReady ? FailNotReady() : Read32(packet, 2) < BlockCount ? MmcOutcome.Good : Fail(Sense.BlockOutOfRange);
            case MmcCommand.ReadCapacity:
                return ReadCapacity();
            case MmcCommand.ReadTocPmaAtip:
                return ReadToc(packet);
            case MmcCommand.ReadSubChannel:
                return ReadSubChannel(packet);
            case MmcCommand.ReadDiscInformation:
                return ReadDiscInformation(packet);
            case MmcCommand.ReadTrackInformation:
                return ReadTrackInformation(packet);
            case MmcCommand.ReadDiscStructure:
                return ReadDiscStructure(packet);
            default:
                return Fail(Sense.InvalidCommand);
        }
    }

    /// <summary>The host could not read the blocks.</summary>
    public MmcOutcome FailRead() => Fail(Sense.UnrecoveredReadError);

    private MmcOutcome Fail(Sense sense)
    {
        Sense = sense;
        return MmcOutcome.Failed;
    }

    private MmcOutcome FailNotReady() => Fail(IsOpen ? Sense.MediumNotPresentTrayOpen : Sense.MediumNotPresentTrayClosed);

    /// <summary>The first <paramref name="length"/> bytes of the response are filled in; the host wants <paramref name="wanted"/> at most.</summary>
    private MmcOutcome Respond(int length, uint wanted)
    {
        _responseLength = (int)Math.Min((uint)length, wanted);
        return _responseLength == 0 ? MmcOutcome.Good : MmcOutcome.Data;
    }

    /// <summary>The response, all zero so far.</summary>
    private Span<byte> Begin()
    {
        Array.Clear(_response);
        return _response;
    }

    private MmcOutcome RequestSense(ReadOnlySpan<byte> packet)
    {
        const int length = 18;
        const byte fixedFormat = 0x70;
        if (Sense == Sense.None)
            Sense = TakeAttention() ?? Sense.None;
        var data = Begin();
        data[0] = fixedFormat;
        data[2] = Sense.Key;
        data[7] = length - 8;
        data[12] = Sense.Code;
        data[13] = Sense.Qualifier;
        Sense = Sense.None;
        return Respond(length, packet[4]);
    }

    private MmcOutcome ReadBlocks(uint block, uint blocks)
    {
        if (!IsReady)
            return FailNotReady();
        if (block > BlockCount || blocks > BlockCount - block)
            return Fail(Sense.BlockOutOfRange);
        Block = block;
        Blocks = blocks;
        return blocks == 0 ? MmcOutcome.Good : MmcOutcome.Blocks;
    }

    /// <summary>READ CD (MMC-6, 6.19): the user data of blocks of data, for images hold no more.</summary>
    private MmcOutcome ReadCd(ReadOnlySpan<byte> packet)
    {
        const byte userData = 0x10, mainChannel = 0xF8, subChannel = 0x07;
        const int anyType = 0, mode1 = 2;
        var type = (packet[1] >> 2) & 7;
        if (!IsReady)
            return FailNotReady();
        if ((packet[10] & subChannel) != 0 || type is not (anyType or mode1))
            return Fail(Sense.IllegalModeForTrack);
        return (packet[9] & mainChannel) switch
        {
            0 => MmcOutcome.Good,
            userData => ReadBlocks(Read32(packet, 2), Read32(packet, 5) & 0xFF_FFFF),
            _ => Fail(Sense.IllegalModeForTrack),
        };
    }

    private static ushort Read16(ReadOnlySpan<byte> packet, int offset) => BinaryPrimitives.ReadUInt16BigEndian(packet[offset..]);

    private static uint Read32(ReadOnlySpan<byte> packet, int offset) => BinaryPrimitives.ReadUInt32BigEndian(packet[offset..]);

    private static void Write16(Span<byte> data, int offset, int value) => BinaryPrimitives.WriteUInt16BigEndian(data[offset..], (ushort)value);

    private static void Write32(Span<byte> data, int offset, uint value) => BinaryPrimitives.WriteUInt32BigEndian(data[offset..], value);
}
