using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>The logs that a disk with queued commands has (ATA8-ACS, 7.25 and annex A): the directory, and what went wrong in the queue.</summary>
public sealed unsafe partial class AtaDisk
{
    private const byte DirectoryLog = 0x00;
    private const byte QueuedErrorLog = 0x10;

    private readonly byte[] _queuedError = new byte[SectorSize];

    internal override void NoteQueuedError(int tag)
    {
        var log = _queuedError.AsSpan();
        log.Clear();
        log[0] = (byte)tag;
        log[2] = (byte)Status;
        log[3] = (byte)Error;
        log[4] = Registers[AtaRegisters.LbaLow];
        log[5] = Registers[AtaRegisters.LbaMid];
        log[6] = Registers[AtaRegisters.LbaHigh];
        log[7] = Registers[AtaRegisters.Device];
        log[8] = Registers.Previous(AtaRegisters.LbaLow);
        log[9] = Registers.Previous(AtaRegisters.LbaMid);
        log[10] = Registers.Previous(AtaRegisters.LbaHigh);
        log[12] = Registers[AtaRegisters.Count];
        log[13] = Registers.Previous(AtaRegisters.Count);
        log[^1] = Checksum(log[..^1]);
    }

    private void ReadLog()
    {
        var page = Registers[AtaRegisters.LbaMid] | Registers.Previous(AtaRegisters.LbaMid) << 8;
        if (page != 0 || Registers.Raw48 != 1)
        {
            Fail(AtaError.Abort);
            return;
        }

        var data = Buffer[..SectorSize];
        switch (Registers[AtaRegisters.LbaLow])
        {
            case DirectoryLog:
                data.Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(data, 1);
                BinaryPrimitives.WriteUInt16LittleEndian(data[(QueuedErrorLog * sizeof(ushort))..], 1);
                break;
            case QueuedErrorLog:
                _queuedError.CopyTo(data);
                break;
            default:
                Fail(AtaError.Abort);
                return;
        }

        OfferBlock(0, SectorSize);
    }

    private static byte Checksum(ReadOnlySpan<byte> data)
    {
        byte sum = 0;
        foreach (var value in data)
            sum += value;
        return (byte)-sum;
    }
}
