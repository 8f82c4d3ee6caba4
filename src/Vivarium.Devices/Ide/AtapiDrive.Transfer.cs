namespace Vivarium.Devices;

/// <summary>The PACKET command's protocol: packet in, data out, status.</summary>
public sealed unsafe partial class AtapiDrive
{
    private enum WorkKind : byte
    {
        None,

        /// <summary>Blocks into the buffer, for PIO.</summary>
        Fill,

        /// <summary>Blocks into guest memory.</summary>
        Read,

        /// <summary>A response into guest memory.</summary>
        Copy,
    }

    private const int MaxByteCount = 0xFFFE;

    /// <summary>SFF-8020i, 7.2.2: a limit of 0 says nothing, and so cannot be kept by PIO.</summary>
    private int _limit;
    private bool _usesDma;
    private bool _isResponse;
    private bool _expectsPacket;

    /// <summary>The next block to be read, and the bytes that the host has not been given yet, in the buffer or not.</summary>
    private uint _block;
    private ulong _left;
    private int _bufferStart;
    private int _bufferEnd;

    // What the host is to do now.
    private WorkKind _work;
    private IBlockBackend? _workMedium;
    private ReadOnlyMemory<IoSegment> _segments;
    private ulong _workLength;
    private bool _workFailed;

    internal override void Work()
    {
        _workFailed = false;
        try
        {
            DoWork();
        }
        catch (Exception e)
        {
            // Whatever the backend's trouble is, it is not the monitor's.
            Failed?.Invoke(e.Message);
            _workFailed = true;
        }
    }

    private protected override void OnWorkDone()
    {
        var work = _work;
        _work = WorkKind.None;
        _workMedium = null;
        _segments = default;
        if (_workFailed)
        {
            _drive.FailRead();
            Finish(MmcOutcome.Failed);
            return;
        }

        if (work == WorkKind.Fill)
        {
            _block += (uint)(_workLength / MmcDrive.BlockSize);
            _bufferStart = 0;
            _bufferEnd = (int)_workLength;
            OfferNext();
            return;
        }

        _left -= _workLength;
        _position += _workLength;
        if (DmaAdvance(_workLength))
            Finish(MmcOutcome.Good);
    }

    private protected override void OnBlockWritten()
    {
        if (!_expectsPacket)
            return;
        _expectsPacket = false;
        ServePacket();
    }

    private protected override void OnBlockRead()
    {
        if (_isIdentify)
        {
            CompleteQuietly();
            return;
        }

        var length = NextLength;
        _left -= (uint)length;
        _bufferStart += length;
        if (_bufferStart < _bufferEnd)
            OfferNext();
        else if (_left != 0)
            Fill();
        else
            Finish(MmcOutcome.Good);
    }

    private protected override void OnDma(DmaDirection direction, ReadOnlyMemory<IoSegment> segments, ulong length)
    {
        _segments = segments;
        _workLength = length;
        Begin(_isResponse ? WorkKind.Copy : WorkKind.Read);
    }

    private int NextLength => Math.Min(_limit, _bufferEnd - _bufferStart);

    private void ExpectPacket()
    {
        var features = Registers[AtaRegisters.ErrorOrFeatures];
        _usesDma = (features & DmaFeature) != 0;
        _limit = Registers[AtaRegisters.LbaMid] | Registers[AtaRegisters.LbaHigh] << 8;
        if ((features & OverlapFeature) != 0)
        {
            Fail(AtaError.Abort);
            return;
        }

        if (_limit == ushort.MaxValue)
            _limit = MaxByteCount;
        _isIdentify = false;
        _expectsPacket = true;
        Registers.Set(AtaRegisters.Count, CommandOrStatus);
        ExpectBlock(MmcDrive.PacketLength, interrupt: false);
    }

    private void ServePacket()
    {
        var outcome = _drive.Execute(Buffer[..MmcDrive.PacketLength]);
        switch (outcome)
        {
            case MmcOutcome.Data:
                _isResponse = true;
                _left = (ulong)_drive.Response.Length;
                break;
            case MmcOutcome.Blocks:
                _isResponse = false;
                _block = _drive.Block;
                _left = (ulong)_drive.Blocks * MmcDrive.BlockSize;
                break;
            default:
                Finish(outcome);
                return;
        }

        _position = 0;
        if (_usesDma)
        {
            Registers.Set(AtaRegisters.Count, ToHost);
            WaitForDma(DmaDirection.ToMemory, _left);
        }
        else if (!TakeLimit())
        {
            Registers.Set(AtaRegisters.Count, CommandOrStatus | ToHost);
            Fail(AtaError.Abort);
        }
        else if (_isResponse)
        {
            _drive.Response.CopyTo(Buffer);
            _bufferStart = 0;
            _bufferEnd = (int)_left;
            OfferNext();
        }
        else
        {
            Fill();
        }
    }

    /// <summary>Pieces but the last have even lengths.</summary>
    private bool TakeLimit()
    {
        if ((ulong)_limit < _left)
            _limit &= ~1;
        return _limit != 0;
    }

    /// <summary>The bytes of the transfer that are done: where the next DMA goes on.</summary>
    private ulong _position;

    private void Fill()
    {
        _workLength = Math.Min(_left, BufferSectors * SectorSize);
        Begin(WorkKind.Fill);
    }

    private void Begin(WorkKind work)
    {
        _work = work;
        _workMedium = _drive.Medium;
        NeedWork(waits: false);
    }

    private void OfferNext()
    {
        var length = NextLength;
        Registers.Set(AtaRegisters.Count, ToHost);
        Registers.Set(AtaRegisters.LbaMid, (byte)length);
        Registers.Set(AtaRegisters.LbaHigh, (byte)(length >> 8));
        OfferBlock(_bufferStart, _bufferStart + length);
    }

    /// <summary>The packet command is done, well or not.</summary>
    private void Finish(MmcOutcome outcome)
    {
        const int senseKeyShift = 4;
        _left = 0;
        Registers.Set(AtaRegisters.Count, CommandOrStatus | ToHost);
        if (outcome == MmcOutcome.Failed)
            Fail((AtaError)(_drive.Sense.Key << senseKeyShift) | AtaError.Abort);
        else
            Complete();
    }

    private void DoWork()
    {
        switch (_work)
        {
            case WorkKind.Fill:
                Medium.Read((ulong)_block * MmcDrive.BlockSize, [new IoSegment(BufferAddress, (nuint)_workLength)]);
                break;
            case WorkKind.Read:
                Medium.Read((ulong)_block * MmcDrive.BlockSize + _position, _segments.Span);
                NoteWritten();
                break;
            case WorkKind.Copy:
                CopyResponse();
                NoteWritten();
                break;
        }
    }

    /// <summary>The disc may have been taken, and a shorter one put in, between the command and its data.</summary>
    private IBlockBackend Medium => _workMedium is { } medium && ((ulong)_block * MmcDrive.BlockSize) + _position + _workLength <= medium.Length
        ? medium
        : throw new IOException("the disc was taken out while it was read");

    private void CopyResponse()
    {
        var source = _drive.Response[(int)_position..];
        foreach (ref readonly var segment in _segments.Span)
        {
            var part = source[..(int)segment.Length];
            part.CopyTo(segment.Span);
            source = source[part.Length..];
        }
    }

    private void NoteWritten()
    {
        foreach (ref readonly var segment in _segments.Span)
            _memory.NoteWritten(segment.Address, segment.Length);
    }

    /// <summary>Waits until nothing reads another disc than the present one.</summary>
    private void WaitForReads(IBlockBackend? present)
    {
        var spin = new SpinWait();
        while (ReadsOther(present))
            spin.SpinOnce();
    }

    private bool ReadsOther(IBlockBackend? present)
    {
        lock (Gate)
            return (HasWork || IsWorking) && _workMedium is { } medium && !ReferenceEquals(medium, present);
    }
}
