using System.Runtime.CompilerServices;

namespace Vivarium.Devices;

/// <summary>
/// Sectors between the disk and memory (82077AA data sheet, 5.1). A command reads its whole cylinder first, or writes what it
/// has got last, so that the host's disk is used without the lock; in between everything is in one buffer.
/// </summary>
public sealed partial class FloppyController
{
    private const int SectorSize = FloppyGeometry.SectorSize;
    private const int MostSectors = 36;
    private const int MostHeads = 2;

    /// <summary>The size code of sectors of 512 bytes.</summary>
    private const byte SectorSizeCode = 2;

    // ST1.
    private const byte EndOfCylinder = 1 << 7;
    private const byte Overrun = 1 << 4;
    private const byte NoData = 1 << 2;
    private const byte NotWritable = 1 << 1;
    private const byte MissingAddressMark = 1 << 0;
    private const byte DataError = 1 << 5;

    // ST2.
    private const byte ControlMark = 1 << 6;
    private const byte WrongCylinder = 1 << 4;
    private const byte ScanHit = 1 << 3;
    private const byte ScanNotSatisfied = 1 << 2;

    private readonly record struct Problem(byte Status1, byte Status2);

    // Pinned, as the host reads and writes it.
    private readonly byte[] _cylinder = GC.AllocateUninitializedArray<byte>(MostHeads * MostSectors * SectorSize, pinned: true);
    private FloppyDrive? _drive;
    private FloppyGeometry? _geometry;

    /// <summary>Where the command has arrived: what the result tells.</summary>
    private byte _idCylinder;
    private byte _idHead;
    private byte _idSector;

    /// <summary>The side that is moved now, and the byte of the sector.</summary>
    private int _side;
    private int _offset;
    private int _verifyLeft;

    /// <summary>Sectors to be written, a bit each.</summary>
    private ulong _dirty0;
    private ulong _dirty1;

    // What the host is to do now.
    private bool _hasWork;
    private bool _isWorking;
    private bool _workWrites;
    private IBlockBackend? _workMedium;
    private ulong _workOffset;
    private bool _workFailed;
    private Problem _pending;

    private void SetId(byte cylinder, byte head, byte sector) => (_idCylinder, _idHead, _idSector) = (cylinder, head, sector);

    /// <summary>Why nothing can be found under the head; null if something can.</summary>
    private Problem? Check()
    {
        if (Selected is not { Geometry: { } geometry } drive || !drive.IsReadable(_rate) || (_command[0] & DoubleDensity) == 0)
            return new Problem(MissingAddressMark, 0);
        return Head >= geometry.Heads || drive.Cylinder >= geometry.Cylinders ? new Problem(MissingAddressMark, 0) : null;
    }

    private void BeginTransfer()
    {
        SetId(_command[2], _command[3], _command[4]);
        _side = Head;
        _lastEndOfTrack = _command[6];
        var drive = Selected;
        if (drive is not null && (_configuration & ImpliedSeek) != 0 && Code != FloppyCommand.ReadTrack)
            drive.Step(_command[2]);
        if (Check() is { } problem)
        {
            EndTransfer(problem.Status1, problem.Status2);
            return;
        }

        _drive = drive!;
        _geometry = drive!.Geometry!;
        _offset = 0;
        _dirty0 = 0;
        _dirty1 = 0;
        const int countOrEnd = 8;
        _verifyLeft = (_command[1] & EnableCount) != 0 ? _command[countOrEnd] : int.MaxValue;
        if (Code == FloppyCommand.ReadTrack)
            _idSector = 1;
        if (FindSector() is { } missing)
        {
            EndTransfer(missing.Status1, missing.Status2);
            return;
        }

        if (Code is FloppyCommand.WriteData or FloppyCommand.WriteDeletedData)
        {
            if (_drive.Medium!.ReadOnly)
                EndTransfer(NotWritable, 0);
            else if (IsNonDma)
                BeginBytes(Phase.WriteBytes);
            else
                TakeSectors();
            return;
        }

        BeginWork(writes: false);
    }

    private bool IsNonDma => (_loadAndMode & NonDmaMode) != 0;

    /// <summary>Looks for the sector of the command's address on the track; why it is not there, or null.</summary>
    private Problem? FindSector()
    {
        const int cylinderField = 2, headField = 3, sizeField = 5;
        if (_command[cylinderField] != _drive!.Cylinder && Code != FloppyCommand.ReadTrack)
            return new Problem(NoData, WrongCylinder);
        if (_side >= _geometry!.Heads)
            return new Problem(MissingAddressMark, 0);
        var hasHead = _idHead == _side || (Code == FloppyCommand.ReadTrack && _command[headField] <= 1);
        return hasHead && _idSector >= 1 && _idSector <= _geometry.Sectors && _command[sizeField] == SectorSizeCode ? null : new Problem(NoData, 0);
    }

    private Span<byte> Sector => _cylinder.AsSpan((_side * _geometry!.Sectors + _idSector - 1) * SectorSize, SectorSize);

    /// <summary>The command goes on with the next sector (5.1.1). False if it was the last of the cylinder.</summary>
    private bool NextSector()
    {
        const int endOfTrackField = 6;
        _offset = 0;
        if (_idSector != _command[endOfTrackField])
        {
            _idSector++;
            return true;
        }

        _idSector = 1;
        if ((_command[0] & MultiTrack) == 0 || Code == FloppyCommand.ReadTrack)
        {
            _idCylinder++;
            return false;
        }

        _idHead ^= 1;
        if (_side == 0)
        {
            _side = 1;
            return true;
        }

        _idCylinder++;
        return false;
    }

    /// <summary>Moves what was read to where it is wanted. The buffer has the cylinder.</summary>
    private void MoveSectors()
    {
        switch (Code)
        {
            case FloppyCommand.Verify:
                VerifySectors();
                break;
            case FloppyCommand.ScanEqual or FloppyCommand.ScanLowOrEqual or FloppyCommand.ScanHighOrEqual:
                ScanSectors();
                break;
            default:
                if (IsNonDma)
                    BeginBytes(Phase.ReadBytes);
                else
                    GiveSectors();
                break;
        }
    }

    private void GiveSectors()
    {
        // Nothing on these disks is marked as deleted: one sector is read that should have been.
        var isMarkWrong = Code == FloppyCommand.ReadDeletedData;
        while (true)
        {
            if (FindSector() is { } problem)
            {
                EndTransfer(problem.Status1, problem.Status2);
                return;
            }

            var given = _dma.Give(DmaChannelNumber, Sector, out var terminalCount);
            if (terminalCount)
            {
                NextSector();
                EndTransfer(0, isMarkWrong ? ControlMark : (byte)0);
                return;
            }

            if (given < SectorSize)
            {
                EndTransfer(Overrun, 0);
                return;
            }

            if (!NextSector())
            {
                EndTransfer(EndOfCylinder, isMarkWrong ? ControlMark : (byte)0);
                return;
            }

            if (isMarkWrong)
            {
                EndTransfer(0, ControlMark);
                return;
            }
        }
    }

    private void TakeSectors()
    {
        while (true)
        {
            if (FindSector() is { } problem)
            {
                EndWriting(problem);
                return;
            }

            var sector = Sector;
            var taken = _dma.Take(DmaChannelNumber, sector, out var terminalCount);
            if (taken < SectorSize && !terminalCount)
            {
                EndWriting(new Problem(Overrun, 0));
                return;
            }

            sector[taken..].Clear();
            MarkDirty();
            var isMore = NextSector();
            if (terminalCount || !isMore)
            {
                EndWriting(terminalCount ? default : new Problem(EndOfCylinder, 0));
                return;
            }
        }
    }

    private void VerifySectors()
    {
        while (_verifyLeft-- > 0)
        {
            if (FindSector() is { } problem)
            {
                EndTransfer(problem.Status1, problem.Status2);
                return;
            }

            if (!NextSector())
                break;
        }

        EndTransfer(0, 0);
    }

    /// <summary>SCAN: compares sectors with memory, where FFH matches anything, until one fits.</summary>
    private void ScanSectors()
    {
        const int stepField = 8;
        Span<byte> wanted = stackalloc byte[SectorSize];
        while (true)
        {
            if (FindSector() is { } problem)
            {
                EndTransfer(problem.Status1, problem.Status2);
                return;
            }

            var taken = _dma.Take(DmaChannelNumber, wanted, out var terminalCount);
            if (taken == 0)
            {
                EndTransfer(Overrun, 0);
                return;
            }

            var isEqual = true;
            var isSatisfied = true;
            for (var i = 0; i < taken; i++)
            {
                if (wanted[i] == 0xFF || Sector[i] == 0xFF || Sector[i] == wanted[i])
                    continue;
                isEqual = false;
                isSatisfied &= Code == FloppyCommand.ScanLowOrEqual ? Sector[i] < wanted[i] : Code == FloppyCommand.ScanHighOrEqual && Sector[i] > wanted[i];
            }

            if (isEqual || isSatisfied)
            {
                EndTransfer(0, isEqual ? ScanHit : (byte)0);
                return;
            }

            var isMore = NextSector() && (_command[stepField] != 2 || NextSector());
            if (terminalCount || !isMore)
            {
                EndTransfer(0, ScanNotSatisfied);
                return;
            }
        }
    }

    private void Format()
    {
        const int sizeField = 2, countField = 3, fillerField = 5, idLength = 4;
        var drive = Selected;
        SetId(drive?.Cylinder ?? 0, Head, 1);
        _side = Head;
        if (Check() is { } problem)
        {
            EndTransfer(problem.Status1, problem.Status2);
            return;
        }

        _drive = drive!;
        _geometry = drive!.Geometry!;
        _dirty0 = 0;
        _dirty1 = 0;
        if (_drive.Medium!.ReadOnly || _command[sizeField] != SectorSizeCode)
        {
            EndTransfer(NotWritable, 0);
            return;
        }

        Span<byte> id = stackalloc byte[idLength];
        for (var i = 0; i < _command[countField]; i++)
        {
            if (_dma.Take(DmaChannelNumber, id, out _) < idLength)
            {
                EndWriting(new Problem(Overrun, 0));
                return;
            }

            // The image has a place for sectors of the usual numbers only.
            SetId(id[0], id[1], id[2]);
            if (id[2] < 1 || id[2] > _geometry.Sectors || id[3] != SectorSizeCode)
                continue;
            Sector.Fill(_command[fillerField]);
            MarkDirty();
        }

        EndWriting(default);
    }

    private void BeginBytes(Phase phase)
    {
        _phase = phase;
        Interrupt(true);
    }

    /// <summary>Without DMA no terminal count comes: the command ends with its cylinder.</summary>
    private byte ReadByte()
    {
        var value = Sector[_offset++];
        NextByte();
        return value;
    }

    private void WriteByte(byte value)
    {
        Sector[_offset++] = value;
        if (_offset == SectorSize)
            MarkDirty();
        NextByte();
    }

    private void NextByte()
    {
        // An edge for each byte, for those who wait for one.
        Interrupt(false);
        Interrupt(true);
        if (_offset < SectorSize)
            return;
        var problem = !NextSector() ? new Problem(EndOfCylinder, 0) : FindSector();
        if (problem is not { } end)
            return;
        if (_phase == Phase.WriteBytes)
            EndWriting(end);
        else
            EndTransfer(end.Status1, end.Status2);
    }

    private void MarkDirty()
    {
        var bit = 1ul << (_idSector - 1);
        if (_side == 0)
            _dirty0 |= bit;
        else
            _dirty1 |= bit;
    }

    private void EndWriting(Problem problem)
    {
        _pending = problem;
        if ((_dirty0 | _dirty1) == 0)
            EndTransfer(problem.Status1, problem.Status2);
        else
            BeginWork(writes: true);
    }

    /// <summary>The seven bytes of a result, and the interrupt.</summary>
    private void EndTransfer(byte status1, byte status2)
    {
        const byte harmless = ControlMark | ScanHit | ScanNotSatisfied;
        var failed = status1 != 0 || (status2 & ~harmless) != 0;
        _result[0] = (byte)((failed ? AbnormalTermination : 0) | _side << 2 | DriveNumber);
        _result[1] = status1;
        _result[2] = status2;
        _result[3] = _idCylinder;
        _result[4] = _idHead;
        _result[5] = _idSector;
        _result[6] = SectorSizeCode;
        Interrupt(false);
        Respond(7);
        Interrupt(true);
    }

    private void BeginWork(bool writes)
    {
        _phase = Phase.Work;
        _workWrites = writes;
        _workMedium = _drive!.Medium;
        _workOffset = (ulong)_drive.Cylinder * _geometry!.Heads * _geometry.Sectors * SectorSize;
        _hasWork = true;
    }

    private bool IsWorking(IBlockBackend? medium)
    {
        lock (_lock)
            return (_hasWork || _isWorking) && (medium is null || ReferenceEquals(medium, _workMedium));
    }

    /// <summary>Has the host do what is to be done; most accesses leave nothing.</summary>
    private void DoWork()
    {
        while (Volatile.Read(ref _hasWork))
        {
            lock (_lock)
            {
                if (!_hasWork || _isWorking)
                    return;
                _hasWork = false;
                _isWorking = true;
            }

            _workFailed = false;
            try
            {
                if (_workWrites)
                    WriteSectors();
                else
                    Transfer(0, _geometry!.Heads * _geometry.Sectors, writes: false);
            }
            catch (Exception e)
            {
                // Whatever the backend's trouble is, it is not the monitor's.
                Failed?.Invoke(e.Message);
                _workFailed = true;
            }

            lock (_lock)
            {
                _isWorking = false;
                WorkDone();
            }
        }
    }

    private void WorkDone()
    {
        // A reset has come meanwhile.
        if (_phase != Phase.Work)
            return;
        if (_workFailed)
            EndTransfer(DataError, 0);
        else if (_workWrites)
            EndTransfer(_pending.Status1, _pending.Status2);
        else
            MoveSectors();
    }

    private void WriteSectors()
    {
        var sectors = _geometry!.Sectors;
        for (var i = 0; i < _geometry.Heads * sectors;)
        {
            var count = 0;
            while (i + count < _geometry.Heads * sectors && IsDirty(i + count))
                count++;
            if (count != 0)
                Transfer(i, count, writes: true);
            i += Math.Max(1, count);
        }
    }

    private bool IsDirty(int index)
    {
        var sectors = _geometry!.Sectors;
        return ((index < sectors ? _dirty0 : _dirty1) >> index % sectors & 1) != 0;
    }

    private unsafe void Transfer(int first, int sectors, bool writes)
    {
        var address = (byte*)Unsafe.AsPointer(ref _cylinder[first * SectorSize]);
        ReadOnlySpan<IoSegment> segment = [new IoSegment(address, (nuint)(sectors * SectorSize))];
        var offset = _workOffset + (ulong)first * SectorSize;
        if (_workMedium is not { } medium || offset + (ulong)sectors * SectorSize > medium.Length)
            throw new IOException("the disk was taken out while it was used");
        if (writes)
            medium.Write(offset, segment);
        else
            medium.Read(offset, segment);
    }
}
