using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>How a disk finds its sectors and moves them.</summary>
public sealed unsafe partial class AtaDisk
{
    private enum Addressing : byte
    {
        Chs,
        Lba28,
        Lba48,
    }

    private enum WorkKind : byte
    {
        None,
        ReadToBuffer,
        WriteFromBuffer,
        ReadToMemory,
        WriteFromMemory,
        Verify,
        Flush,
        Trim,
    }

    // A range entry of DATA SET MANAGEMENT (ATA8-ACS, 7.10): sector in the lower 48 bits, count in the upper 16.
    private const int RangeLength = 8;
    private const int RangeCountShift = 48;
    private const ulong RangeLbaMask = (1ul << RangeCountShift) - 1;

    // The command under way.
    private Addressing _addressing;
    private ulong _lba;
    private uint _left;
    private int _block;
    private int _buffered;
    private int _bufferStart;
    private bool _forceUnitAccess;
    private bool _trim;
    private byte[] _payload = [];

    // What the host has to do for it now.
    private WorkKind _work;
    private uint _workSectors;
    private ulong _workLength;
    private ReadOnlyMemory<IoSegment> _segments;
    private AtaError _workError;

    /// <summary>The ranges of a TRIM that have arrived, and have to arrive.</summary>
    private int _payloadLength;

    private bool WritesThrough => _forceUnitAccess || !_writeCache;

    internal override void Work()
    {
        _workError = AtaError.None;
        try
        {
            DoWork();
        }
        catch (Exception e)
        {
            // Whatever the backend's trouble is, it is not the monitor's.
            Failed?.Invoke(e.Message);
            _workError = _work is WorkKind.ReadToBuffer or WorkKind.ReadToMemory or WorkKind.Verify ? AtaError.Uncorrectable : AtaError.Abort;
        }
    }

    private protected override void OnWorkDone()
    {
        var work = _work;
        _work = WorkKind.None;
        _segments = default;
        if (_workError != AtaError.None)
        {
            FailAt(_workError);
            return;
        }

        switch (work)
        {
            case WorkKind.ReadToBuffer:
                _buffered = (int)_workSectors;
                _bufferStart = 0;
                OfferNext();
                break;
            case WorkKind.WriteFromBuffer:
                Advance(_workSectors);
                if (_left == 0)
                    Complete();
                else
                    ExpectNext(interrupt: true);
                break;
            case WorkKind.ReadToMemory or WorkKind.WriteFromMemory:
                Advance(_workSectors);
                if (DmaAdvance(_workLength))
                    Complete();
                break;
            case WorkKind.Trim:
                if (DmaAdvance(_workLength))
                    Complete();
                break;
            default:
                Complete();
                break;
        }
    }

    private protected override void OnBlockRead()
    {
        var sectors = Math.Min(_block, _buffered);
        Advance((uint)sectors);
        _buffered -= sectors;
        _bufferStart += sectors * SectorSize;
        if (_buffered != 0)
            OfferNext();
        else if (_left != 0)
            FillBuffer();
        else
            CompleteQuietly();
    }

    private protected override void OnBlockWritten()
    {
        _workSectors = (uint)Math.Min(_block, (long)_left);
        _work = WorkKind.WriteFromBuffer;
        NeedWork(WritesThrough);
    }

    private protected override void OnDma(DmaDirection direction, ReadOnlyMemory<IoSegment> segments, ulong length)
    {
        _segments = segments;
        _workLength = length;
        _workSectors = (uint)(length / SectorSize);
        if (_trim)
        {
            _work = WorkKind.Trim;
            NeedWork(waits: true);
        }
        else if (direction == DmaDirection.ToMemory)
        {
            _work = WorkKind.ReadToMemory;
            NeedWork(waits: false);
        }
        else
        {
            _work = WorkKind.WriteFromMemory;
            NeedWork(WritesThrough);
        }
    }

    private void ReadByPio(bool extended, int block)
    {
        // READ MULTIPLE without SET MULTIPLE MODE.
        if (block == 0)
        {
            Fail(AtaError.Abort);
            return;
        }

        if (!Locate(extended))
            return;
        _block = block;
        FillBuffer();
    }

    private void WriteByPio(bool extended, int block, bool forceUnitAccess = false)
    {
        if (block == 0 || _backend.ReadOnly)
        {
            Fail(AtaError.Abort);
            return;
        }

        if (!Locate(extended))
            return;
        _block = block;
        _forceUnitAccess = forceUnitAccess;
        ExpectNext(interrupt: false);
    }

    /// <summary>READ and WRITE FPDMA QUEUED (ATA8-ACS, 7.29): the count is in Features, the tag in Count.</summary>
    private void TransferQueued(DmaDirection direction)
    {
        const byte forceUnitAccess = 1 << 7;
        var sectors = Registers[AtaRegisters.ErrorOrFeatures] | (uint)Registers.Previous(AtaRegisters.ErrorOrFeatures) << 8;
        TransferByDma(direction, extended: true, (Registers[AtaRegisters.Device] & forceUnitAccess) != 0, sectors == 0 ? 0x1_0000 : sectors);
    }

    private void TransferByDma(DmaDirection direction, bool extended, bool forceUnitAccess = false, uint sectors = 0)
    {
        if (direction == DmaDirection.FromMemory && _backend.ReadOnly)
        {
            Fail(AtaError.Abort);
            return;
        }

        if (!Locate(extended, sectors))
            return;
        _forceUnitAccess = forceUnitAccess;
        WaitForDma(direction, (ulong)_left * SectorSize);
    }

    private void Verify(bool extended)
    {
        if (!Locate(extended))
            return;
        _work = WorkKind.Verify;
        NeedWork(waits: true);
    }

    private void Flush()
    {
        _work = WorkKind.Flush;
        NeedWork(waits: true);
    }

    private void ManageDataSet()
    {
        var blocks = Registers.Raw48;
        if (Registers[AtaRegisters.ErrorOrFeatures] != TrimBit || blocks is 0 or > MaxTrimBlocks || !CanTrim)
        {
            Fail(AtaError.Abort);
            return;
        }

        _addressing = Addressing.Lba48;
        _lba = 0;
        _trim = true;
        _payload = new byte[blocks * SectorSize];
        _payloadLength = 0;
        WaitForDma(DmaDirection.FromMemory, (ulong)_payload.Length);
    }

    private bool CanTrim => _backend is { CanDiscard: true, ReadOnly: false };

    /// <summary>Finds the first sector of a command, and fails it if one of its sectors is not there.</summary>
    private bool Locate(bool extended, uint sectors = 0)
    {
        _left = sectors != 0 ? sectors : extended ? Registers.Count48 : Registers.Count28;
        _addressing = extended ? Addressing.Lba48 : (Registers[AtaRegisters.Device] & AtaRegisters.LbaMode) != 0 ? Addressing.Lba28 : Addressing.Chs;
        var exists = true;
        switch (_addressing)
        {
            case Addressing.Lba48:
                _lba = Registers.Lba48;
                break;
            case Addressing.Lba28:
                _lba = Registers.Lba28;
                break;
            default:
                var cylinder = (uint)(Registers[AtaRegisters.LbaMid] | Registers[AtaRegisters.LbaHigh] << 8);
                var sector = Registers[AtaRegisters.LbaLow];
                exists = sector != 0 && sector <= _sectorsPerTrack && Registers.Head < _heads;
                _lba = ((ulong)cylinder * (uint)_heads + Registers.Head) * (uint)_sectorsPerTrack + sector - 1;
                break;
        }

        if (exists && IsInside(_lba, _left))
            return true;
        Fail(AtaError.IdNotFound);
        return false;
    }

    private bool IsInside(ulong lba, ulong sectors) => lba <= Sectors && sectors <= Sectors - lba;

    /// <summary>The command fails at the sector where it has arrived, which the registers then name.</summary>
    private void FailAt(AtaError error)
    {
        if (_left != 0)
        {
            switch (_addressing)
            {
                case Addressing.Lba48:
                    Registers.SetLba48(_lba);
                    break;
                case Addressing.Lba28:
                    Registers.SetLba28(_lba);
                    break;
                default:
                    var (track, sector) = Math.DivRem(_lba, (ulong)_sectorsPerTrack);
                    Registers.SetChs((uint)(track / (ulong)_heads), (uint)(track % (ulong)_heads), (uint)sector + 1);
                    break;
            }

            Registers.Set(AtaRegisters.Count, (byte)_left);
        }

        Fail(error);
    }

    private void Advance(uint sectors)
    {
        _lba += sectors;
        _left -= sectors;
    }

    private void FillBuffer()
    {
        _work = WorkKind.ReadToBuffer;
        _workSectors = Math.Min(_left, BufferSectors);
        NeedWork(waits: false);
    }

    private void OfferNext() => OfferBlock(_bufferStart, _bufferStart + Math.Min(_block, _buffered) * SectorSize);

    private void ExpectNext(bool interrupt) => ExpectBlock((int)Math.Min(_block, (long)_left) * SectorSize, interrupt);

    private void DoWork()
    {
        switch (_work)
        {
            case WorkKind.ReadToBuffer:
                ReadAhead();
                break;
            case WorkKind.WriteFromBuffer:
                WriteBuffer();
                break;
            case WorkKind.ReadToMemory:
                _backend.Read(_lba * SectorSize, _segments.Span);
                foreach (ref readonly var segment in _segments.Span)
                    _memory.NoteWritten(segment.Address, segment.Length);
                break;
            case WorkKind.WriteFromMemory:
                _backend.Write(_lba * SectorSize, _segments.Span);
                break;
            case WorkKind.Verify:
                ReadAll();
                break;
            case WorkKind.Flush:
                _backend.Flush();
                break;
            case WorkKind.Trim:
                TakePayload();
                break;
        }

        if (_work is WorkKind.WriteFromBuffer or WorkKind.WriteFromMemory && WritesThrough)
            _backend.Flush();
    }

    /// <summary>Reads as much as there is room for; if that cannot be had, the next block alone, so that an error stands where it is.</summary>
    private void ReadAhead()
    {
        try
        {
            ReadBuffer(_workSectors);
        }
        catch (IOException) when (_workSectors > _block)
        {
            _workSectors = (uint)_block;
            ReadBuffer(_workSectors);
        }
    }

    private void ReadBuffer(uint sectors) =>
        _backend.Read(_lba * SectorSize, [new IoSegment(BufferAddress, sectors * SectorSize)]);

    private void WriteBuffer() =>
        _backend.Write(_lba * SectorSize, [new IoSegment(BufferAddress, _workSectors * SectorSize)]);

    /// <summary>Nobody wants the data; that they can be read is what is asked.</summary>
    private void ReadAll()
    {
        while (_left != 0)
        {
            var sectors = Math.Min(_left, BufferSectors);
            ReadBuffer(sectors);
            Advance(sectors);
        }
    }

    private void TakePayload()
    {
        foreach (ref readonly var segment in _segments.Span)
        {
            segment.Span.CopyTo(_payload.AsSpan(_payloadLength));
            _payloadLength += (int)segment.Length;
        }

        if (_payloadLength != _payload.Length)
            return;

        // All are checked before the first is touched.
        for (var i = 0; i < _payload.Length; i += RangeLength)
        {
            var range = BinaryPrimitives.ReadUInt64LittleEndian(_payload.AsSpan(i));
            if (!IsInside(range & RangeLbaMask, range >> RangeCountShift))
            {
                _workError = AtaError.IdNotFound;
                return;
            }
        }

        for (var i = 0; i < _payload.Length; i += RangeLength)
        {
            var range = BinaryPrimitives.ReadUInt64LittleEndian(_payload.AsSpan(i));
            if (range >> RangeCountShift is var sectors and not 0)
                _backend.Discard((range & RangeLbaMask) * SectorSize, sectors * SectorSize);
        }
    }
}
