using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>The NVM command set (NVMe 1.4, 6).</summary>
public sealed partial class NvmeController
{
    private const byte FlushCommand = 0x00;
    private const byte WriteCommand = 0x01;
    private const byte ReadCommand = 0x02;
    private const byte WriteZeroesCommand = 0x08;
    private const byte DatasetManagementCommand = 0x09;

    private const uint OnlyNamespace = 1;
    private const uint AllNamespaces = 0xFFFF_FFFF;
    private const uint ForceUnitAccess = 1u << 30;
    private const uint Deallocate = 1u << 25;

    // A range of DATASET MANAGEMENT: attributes, length, first block.
    private const int RangeLength = 16;
    private const int RangeCountField = 4;
    private const int RangeLbaField = 8;
    private const uint RangesMask = 0xFF;
    private const uint DeallocateAttribute = 1 << 2;

    private long _readCommands;
    private long _writeCommands;
    private long _blocksRead;
    private long _blocksWritten;
    private long _mediaErrors;

    private void ExecuteIo(NvmeSubmissionQueue queue, in NvmeCommand command)
    {
        NvmeStatus status;
        var flushes = false;
        try
        {
            status = ExecuteIo(command, out flushes);
        }
        catch (Exception e)
        {
            // Whatever the backend's trouble is, it is not the monitor's.
            Failed?.Invoke(e.Message);
            Interlocked.Increment(ref _mediaErrors);
            status = command.Opcode == ReadCommand ? NvmeStatus.UnrecoveredReadError : NvmeStatus.WriteFault;
        }

        if (status == NvmeStatus.Success && flushes)
        {
            CompleteAfterFlush(queue, command.Id);
            return;
        }

        if (status != NvmeStatus.Success)
            NoteError(queue.Id, command, status);
        Complete(queue, command.Id, status);
    }

    private NvmeStatus ExecuteIo(in NvmeCommand command, out bool flushes)
    {
        flushes = false;
        if (command.IsFusedOrScattered)
            return NvmeStatus.InvalidField;
        if (command.Namespace != OnlyNamespace && !(command.Opcode == FlushCommand && command.Namespace == AllNamespaces))
            return NvmeStatus.InvalidNamespace;
        switch (command.Opcode)
        {
            case FlushCommand:
                flushes = true;
                return NvmeStatus.Success;
            case ReadCommand:
                return Transfer(command);
            case WriteCommand:
                flushes = WritesThrough(command);
                return _backend.ReadOnly ? NvmeStatus.NamespaceWriteProtected : Transfer(command);
            case WriteZeroesCommand:
                flushes = WritesThrough(command);
                return _backend.ReadOnly ? NvmeStatus.NamespaceWriteProtected : WriteZeroes(command);
            case DatasetManagementCommand:
                return ManageDataset(command);
            default:
                return NvmeStatus.InvalidOpcode;
        }
    }

    private bool WritesThrough(in NvmeCommand command) => (command.Dword12 & ForceUnitAccess) != 0 || !HasWriteCache;

    private NvmeStatus Transfer(in NvmeCommand command)
    {
        if (!IsInside(command.Lba, command.Blocks))
            return NvmeStatus.LbaOutOfRange;
        var length = command.Blocks * BlockSize;
        if (length > NvmePrp.MaxTransfer)
            return NvmeStatus.InvalidField;
        Span<IoSegment> segments = stackalloc IoSegment[NvmePrp.MaxSegments];
        if (NvmePrp.Find(_memory, command.Prp1, command.Prp2, length, segments, out var count) is var status and not NvmeStatus.Success)
            return status;
        segments = segments[..count];
        if (command.Opcode == ReadCommand)
        {
            _backend.Read(command.Lba * BlockSize, segments);
            NoteWritten(segments);
            Interlocked.Increment(ref _readCommands);
            Interlocked.Add(ref _blocksRead, command.Blocks);
        }
        else
        {
            _backend.Write(command.Lba * BlockSize, segments);
            Interlocked.Increment(ref _writeCommands);
            Interlocked.Add(ref _blocksWritten, command.Blocks);
        }

        return NvmeStatus.Success;
    }

    private NvmeStatus WriteZeroes(in NvmeCommand command)
    {
        if (!IsInside(command.Lba, command.Blocks))
            return NvmeStatus.LbaOutOfRange;
        _backend.WriteZeroes(command.Lba * BlockSize, (ulong)command.Blocks * BlockSize, (command.Dword12 & Deallocate) != 0);
        return NvmeStatus.Success;
    }

    /// <summary>All ranges are checked before the first is touched. The other attributes are hints for which there is no use.</summary>
    private NvmeStatus ManageDataset(in NvmeCommand command)
    {
        var ranges = (int)(command.Dword10 & RangesMask) + 1;
        Span<byte> data = stackalloc byte[ranges * RangeLength];
        if (CopyIn(command, data) is var status and not NvmeStatus.Success)
            return status;
        for (var i = 0; i < data.Length; i += RangeLength)
        {
            var (lba, blocks) = Range(data[i..]);
            if (!IsInside(lba, blocks))
                return NvmeStatus.LbaOutOfRange;
        }

        if ((command.Dword11 & DeallocateAttribute) == 0 || !_backend.CanDiscard)
            return NvmeStatus.Success;
        if (_backend.ReadOnly)
            return NvmeStatus.NamespaceWriteProtected;
        for (var i = 0; i < data.Length; i += RangeLength)
        {
            var (lba, blocks) = Range(data[i..]);
            if (blocks != 0)
                _backend.Discard(lba * BlockSize, (ulong)blocks * BlockSize);
        }

        return NvmeStatus.Success;
    }

    private static (ulong Lba, uint Blocks) Range(ReadOnlySpan<byte> range) =>
        (BinaryPrimitives.ReadUInt64LittleEndian(range[RangeLbaField..]), BinaryPrimitives.ReadUInt32LittleEndian(range[RangeCountField..]));

    private bool IsInside(ulong lba, uint blocks) => lba <= Blocks && blocks <= Blocks - lba;

    /// <summary>Copies a command's data out of guest memory.</summary>
    private NvmeStatus CopyIn(in NvmeCommand command, Span<byte> data)
    {
        Span<IoSegment> segments = stackalloc IoSegment[NvmePrp.MaxSegments];
        if (NvmePrp.Find(_memory, command.Prp1, command.Prp2, (uint)data.Length, segments, out var count) is var status and not NvmeStatus.Success)
            return status;
        foreach (ref readonly var segment in segments[..count])
        {
            segment.Span.CopyTo(data);
            data = data[(int)segment.Length..];
        }

        return NvmeStatus.Success;
    }

    /// <summary>Copies a command's data into guest memory.</summary>
    private NvmeStatus CopyOut(in NvmeCommand command, ReadOnlySpan<byte> data)
    {
        Span<IoSegment> segments = stackalloc IoSegment[NvmePrp.MaxSegments];
        if (NvmePrp.Find(_memory, command.Prp1, command.Prp2, (uint)data.Length, segments, out var count) is var status and not NvmeStatus.Success)
            return status;
        foreach (ref readonly var segment in segments[..count])
        {
            data[..(int)segment.Length].CopyTo(segment.Span);
            data = data[(int)segment.Length..];
        }

        NoteWritten(segments[..count]);
        return NvmeStatus.Success;
    }

    private unsafe void NoteWritten(ReadOnlySpan<IoSegment> segments)
    {
        foreach (ref readonly var segment in segments)
            _memory.NoteWritten(segment.Address, segment.Length);
    }
}
