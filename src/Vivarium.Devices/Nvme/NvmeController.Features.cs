using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>Features and log pages (NVMe 1.4, 5.13, 5.14 and 5.21).</summary>
public sealed partial class NvmeController
{
    private const uint ArbitrationFeature = 0x01;
    private const uint PowerFeature = 0x02;
    private const uint TemperatureFeature = 0x04;
    private const uint ErrorRecoveryFeature = 0x05;
    private const uint WriteCacheFeature = 0x06;
    private const uint QueuesFeature = 0x07;
    private const uint CoalescingFeature = 0x08;
    private const uint VectorFeature = 0x09;
    private const uint AtomicityFeature = 0x0A;
    private const uint EventFeature = 0x0B;
    private const int Features = 0x0C;

    private const uint ErrorLog = 1;
    private const uint HealthLog = 2;
    private const uint FirmwareLog = 3;
    private const int ErrorEntries = 4;
    private const int ErrorEntryLength = 64;

    private readonly uint[] _features = new uint[Features];
    private readonly byte[] _errorLog = new byte[ErrorEntries * ErrorEntryLength];
    private ulong _errors;

    private bool HasWriteCache => (Volatile.Read(ref _features[WriteCacheFeature]) & 1) != 0;

    private void ResetFeatures()
    {
        for (uint feature = 0; feature < Features; feature++)
            _features[feature] = DefaultOf(feature);
    }

    private static uint DefaultOf(uint feature) => feature switch
    {
        TemperatureFeature => 343,
        WriteCacheFeature => 1,
        QueuesFeature => (IoQueues - 1) << 16 | IoQueues - 1,
        _ => 0,
    };

    private static bool IsFeature(uint feature) => feature is ArbitrationFeature or PowerFeature or TemperatureFeature or ErrorRecoveryFeature
        or WriteCacheFeature or QueuesFeature or CoalescingFeature or VectorFeature or AtomicityFeature or EventFeature;

    private NvmeStatus GetFeature(in NvmeCommand command, out uint result)
    {
        const uint current = 0, supported = 3, changeable = 1 << 2;
        var feature = command.Dword10 & 0xFF;
        var select = command.Dword10 >> 8 & 7;
        result = 0;
        if (!IsFeature(feature) || select > supported)
            return NvmeStatus.InvalidField;
        result = select switch
        {
            current => _features[feature],
            supported => changeable,
            _ => DefaultOf(feature),
        };

        // Of a vector the number is part of the answer.
        if (feature == VectorFeature && select == current)
            result = command.Dword11 & 0xFFFF;
        return NvmeStatus.Success;
    }

    private NvmeStatus SetFeature(in NvmeCommand command, out uint result)
    {
        const uint save = 1u << 31, powerState = 0x1F;
        var feature = command.Dword10 & 0xFF;
        var value = command.Dword11;
        result = 0;
        if (!IsFeature(feature))
            return NvmeStatus.InvalidField;
        if ((command.Dword10 & save) != 0)
            return NvmeStatus.FeatureNotSaveable;
        switch (feature)
        {
            case PowerFeature when (value & powerState) != 0:
                return NvmeStatus.InvalidField;
            case QueuesFeature:
                if ((value & 0xFFFF) == 0xFFFF || value >> 16 == 0xFFFF)
                    return NvmeStatus.InvalidField;
                result = Math.Min(value & 0xFFFF, IoQueues - 1) | Math.Min(value >> 16, IoQueues - 1) << 16;
                _features[feature] = result;
                return NvmeStatus.Success;
            case WriteCacheFeature:
                Volatile.Write(ref _features[feature], value & 1);
                return NvmeStatus.Success;
            default:
                _features[feature] = value;
                return NvmeStatus.Success;
        }
    }

    private NvmeStatus GetLogPage(in NvmeCommand command)
    {
        const uint retainEvent = 1 << 15;
        const int longest = 512;
        var page = command.Dword10 & 0xFF;
        var wanted = (((ulong)(command.Dword11 & 0xFFFF) << 16 | command.Dword10 >> 16) + 1) * sizeof(uint);
        var offset = command.Dword12 | (ulong)command.Dword13 << 32;
        Span<byte> data = stackalloc byte[longest];
        data.Clear();
        switch (page)
        {
            case ErrorLog:
                _errorLog.CopyTo(data);
                break;
            case HealthLog:
                FillHealth(data);
                break;
            case FirmwareLog:
                data[0] = 1;
                SetText(data.Slice(8, 8), Firmware);
                break;
            default:
                return NvmeStatus.InvalidLogPage;
        }

        var length = page == ErrorLog ? _errorLog.Length : longest;
        if (offset % sizeof(uint) != 0 || offset >= (ulong)length)
            return NvmeStatus.InvalidField;
        data = data[(int)offset..length];
        var status = CopyOut(command, data[..(int)Math.Min((ulong)data.Length, wanted)]);
        if (status == NvmeStatus.Success && page == ErrorLog && (command.Dword10 & retainEvent) == 0)
            _errorEventMasked = false;
        return status;
    }

    /// <summary>SMART: figures of this power cycle. Data units are thousands of 512-byte blocks.</summary>
    private void FillHealth(Span<byte> data)
    {
        const ulong unit = 1000;
        const ushort temperature = 313;
        BinaryPrimitives.WriteUInt16LittleEndian(data[1..], temperature);
        data[3] = 100;
        data[4] = 10;
        BinaryPrimitives.WriteUInt64LittleEndian(data[32..], ((ulong)Volatile.Read(ref _blocksRead) + unit - 1) / unit);
        BinaryPrimitives.WriteUInt64LittleEndian(data[48..], ((ulong)Volatile.Read(ref _blocksWritten) + unit - 1) / unit);
        BinaryPrimitives.WriteUInt64LittleEndian(data[64..], (ulong)Volatile.Read(ref _readCommands));
        BinaryPrimitives.WriteUInt64LittleEndian(data[80..], (ulong)Volatile.Read(ref _writeCommands));
        BinaryPrimitives.WriteUInt64LittleEndian(data[112..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(data[160..], (ulong)Volatile.Read(ref _mediaErrors));
        BinaryPrimitives.WriteUInt64LittleEndian(data[176..], _errors);
    }

    /// <summary>Puts a failed command on top of the error log.</summary>
    private void NoteError(ushort queue, in NvmeCommand command, NvmeStatus status)
    {
        lock (_lock)
        {
            var log = _errorLog.AsSpan();
            log[..^ErrorEntryLength].CopyTo(log[ErrorEntryLength..]);
            var entry = log[..ErrorEntryLength];
            entry.Clear();
            BinaryPrimitives.WriteUInt64LittleEndian(entry, ++_errors);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[8..], queue);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[10..], command.Id);
            BinaryPrimitives.WriteUInt16LittleEndian(entry[12..], (ushort)((uint)status << 1));
            BinaryPrimitives.WriteUInt16LittleEndian(entry[14..], 0xFFFF);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], command.Lba);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[24..], command.Namespace);
        }
    }
}
