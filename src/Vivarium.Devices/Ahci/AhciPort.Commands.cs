using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>How a command goes from the list to the device, and its data and status back (AHCI 1.3, 5.3 to 5.6).</summary>
internal sealed partial class AhciPort
{
    // Command header.
    private const int HeaderLength = 32;
    private const int LengthMask = 0x1F;
    private const int ShortestLength = Fis.CommandLength / 4;
    private const int LongestLength = 16;
    private const ushort PacketBit = 1 << 5;
    private const ushort ClearBusyBit = 1 << 10;
    private const int TableLengthField = 2;
    private const ulong ByteCountField = 4;
    private const int TableField = 8;
    private const ulong TableAlignment = ~0x7Ful;

    // Command table.
    private const ulong PacketOffset = 0x40;
    private const ulong RegionsOffset = 0x80;

    private const byte SoftReset = 1 << 2;

    private readonly byte[] _packet = new byte[MmcDrive.PacketLength];
    private bool _hasPacket;
    private bool _isQueued;
    private int _tag;
    private uint _moved;

    /// <summary>Whether the host is to do something, so that nothing more is to be decided now.</summary>
    private bool DeviceWorks => _device is { HasWork: true } or { IsWorking: true };

    /// <summary>Goes on as far as it goes: with a reset, the command under way, the next ones. The lock is held.</summary>
    private void Proceed()
    {
        while (_device is { } device && !DeviceWorks)
        {
            if (_awaitsSignature && !device.IsInReset)
                FinishReset(device);
            else if (!_controller.CanTransfer)
                return;
            else if (_isActive)
                Continue(device);
            else if (CanFetch(device))
                Fetch(device);
            else
                return;
        }
    }

    /// <summary>A command is there, and the device takes one: it is not busy, or in the middle of a soft reset.</summary>
    private bool CanFetch(AtaDevice device) =>
        _issued != 0 && (_command & Start) != 0 && !_isStopped && !_awaitsSignature && (_serialControl & DetectionMask) != DetectionReset
        && (device.IsInReset || (_status & (byte)(AtaStatus.Busy | AtaStatus.DataRequest)) == 0);

    private void Fetch(AtaDevice device)
    {
        _slot = NextSlot();
        Span<byte> header = stackalloc byte[HeaderLength];
        Span<byte> command = stackalloc byte[Fis.CommandLength];
        header.Clear();
        var hasHeader = _memory.TryRead(_commandList + (ulong)_slot * HeaderLength, header);
        var flags = BinaryPrimitives.ReadUInt16LittleEndian(header);
        var table = BinaryPrimitives.ReadUInt64LittleEndian(header[TableField..]) & TableAlignment;
        if (!hasHeader || !_memory.TryRead(table, command))
        {
            Stop(HostBusFatal);
            return;
        }

        if ((flags & LengthMask) is < ShortestLength or > LongestLength || command[0] != Fis.RegisterToDevice)
        {
            Stop(InterfaceFatal);
            return;
        }

        if ((command[1] & Fis.CommandBit) == 0)
        {
            Control(device, command[Fis.Control], (flags & ClearBusyBit) != 0);
            return;
        }

        if (device.IsInReset)
        {
            // A device that is being reset does not listen.
            Stop(InterfaceFatal);
            return;
        }

        _hasPacket = (flags & PacketBit) != 0;
        if (_hasPacket && !_memory.TryRead(table + PacketOffset, _packet))
        {
            Stop(HostBusFatal);
            return;
        }

        _moved = 0;
        _isActive = true;
        _regions.Begin(table + RegionsOffset, BinaryPrimitives.ReadUInt16LittleEndian(header[TableLengthField..]));
        Fis.Load(device, command);
        Begin(device, command[Fis.Command], command);
    }

    private void Begin(AtaDevice device, byte code, ReadOnlySpan<byte> command)
    {
        const int tagShift = 3, countField = 12;
        device.Interrupt = false;
        _isQueued = (AtaCommand)code is AtaCommand.ReadFpdmaQueued or AtaCommand.WriteFpdmaQueued;
        _tag = command[countField] >> tagShift;
        _status |= (byte)AtaStatus.Busy;
        switch ((AtaCommand)code)
        {
            case AtaCommand.ExecuteDeviceDiagnostic:
                device.Diagnose();
                device.Interrupt = true;
                break;
            case AtaCommand.DeviceReset when device.TakesDeviceReset:
                device.BeginReset();
                device.EndReset();
                break;
            default:
                device.WriteCommand(code);
                break;
        }
    }

    /// <summary>A frame that writes Device Control: soft reset, in two steps.</summary>
    private void Control(AtaDevice device, byte control, bool clearsBusy)
    {
        if ((control & SoftReset) != 0)
        {
            device.BeginReset();
            _issued &= ~(1u << _slot);
            _status = clearsBusy ? (byte)(_status & ~(byte)AtaStatus.Busy) : (byte)(_status | (byte)AtaStatus.Busy);
        }
        else if (device.IsInReset)
        {
            _resetSlot = _slot;
            _awaitsSignature = true;
            _status |= (byte)AtaStatus.Busy;
            device.EndReset();
        }
        else
        {
            _issued &= ~(1u << _slot);
        }
    }

    private void FinishReset(AtaDevice device)
    {
        _awaitsSignature = false;
        _signature = ReadSignature(device);
        if (_resetSlot >= 0)
            _issued &= ~(1u << _resetSlot);
        PostRegisters(interrupt: true);
    }

    /// <summary>The device has something to say, or wants data.</summary>
    private void Continue(AtaDevice device)
    {
        if (device.Pio == DmaDirection.ToMemory)
            MoveToMemory(device);
        else if (device.Pio == DmaDirection.FromMemory)
            MoveFromMemory(device);
        else if (device.Dma != DmaDirection.None)
            MoveByDma(device);
        else
            Finish(device);
    }

    private void MoveToMemory(AtaDevice device)
    {
        var block = device.PioBlock;
        var interrupt = device.Interrupt;
        Span<byte> frame = stackalloc byte[Fis.RegisterLength];
        Fis.Fill(frame, Fis.PioSetup, (byte)(Fis.ToHostBit | (interrupt ? Fis.InterruptBit : 0)), device);
        if (!_regions.Take((ulong)block.Length))
        {
            Stop(HostBusFatal);
            return;
        }

        // What the table has no room for is lost, and the overflow is told.
        var rest = block;
        foreach (ref readonly var segment in _regions.Segments.Span)
        {
            rest[..(int)segment.Length].CopyTo(segment.Span);
            rest = rest[(int)segment.Length..];
        }

        NoteWritten();
        _moved += (uint)_regions.Taken;
        WriteByteCount();
        if (!rest.IsEmpty)
            Raise(Overflow);
        device.Interrupt = false;
        var length = block.Length;
        device.PioBlockMoved();
        PostPioSetup(frame, device, length, interrupt);
    }

    private void MoveFromMemory(AtaDevice device)
    {
        var block = device.PioBlock;
        var interrupt = device.Interrupt;
        Span<byte> frame = stackalloc byte[Fis.RegisterLength];
        Fis.Fill(frame, Fis.PioSetup, interrupt ? Fis.InterruptBit : (byte)0, device);
        if (_hasPacket && block.Length == MmcDrive.PacketLength)
        {
            // The command packet is moved without a trace.
            _hasPacket = false;
            _packet.CopyTo(block);
            device.PioBlockMoved();
            return;
        }

        if (!_regions.Take((ulong)block.Length) || _regions.Taken < (ulong)block.Length)
        {
            Stop(HostBusFatal);
            return;
        }

        var rest = block;
        foreach (ref readonly var segment in _regions.Segments.Span)
        {
            segment.Span.CopyTo(rest);
            rest = rest[(int)segment.Length..];
        }

        _moved += (uint)block.Length;
        WriteByteCount();
        device.Interrupt = false;
        var length = block.Length;
        device.PioBlockMoved();
        PostPioSetup(frame, device, length, interrupt);
    }

    private void MoveByDma(AtaDevice device)
    {
        if (!_regions.Take(device.DmaLeft) || _regions.Taken == 0 || _regions.Taken % device.DmaUnit != 0)
        {
            // Not RAM; or the device moves more than there is room for, and would wait for ever.
            Stop(_regions.Taken == 0 ? Overflow | InterfaceFatal : HostBusFatal);
            return;
        }

        _moved += (uint)_regions.Taken;
        device.StartDma(_regions.Segments, _regions.Taken);
    }

    private void Finish(AtaDevice device)
    {
        var failed = (device.Status & (AtaStatus.Error | AtaStatus.DeviceFault)) != 0;
        var interrupt = device.Interrupt;
        device.Interrupt = false;
        _isActive = false;
        WriteByteCount();
        if (_isQueued)
        {
            FinishQueued(device, failed);
            return;
        }

        if (!failed)
            _issued &= ~(1u << _slot);

        // The last PIO Setup of a read has told its end.
        if (interrupt || failed)
        {
            PostRegisters(interrupt: true);
        }
        else
        {
            _status = (byte)device.Status;
            _error = (byte)device.Error;
        }

        if (failed)
            Stop(TaskFileError);
    }

    /// <summary>A queued command's slot is free as soon as the device has taken it; SActive tells its end.</summary>
    private void FinishQueued(AtaDevice device, bool failed)
    {
        _issued &= ~(1u << _slot);
        _status = (byte)device.Status;
        _error = (byte)device.Error;
        var done = failed ? 0 : 1u << _tag;
        if (failed)
            device.NoteQueuedError(_tag);
        Span<byte> frame = stackalloc byte[Fis.SetDeviceBitsLength];
        frame[0] = Fis.SetDeviceBits;
        frame[1] = Fis.InterruptBit;
        frame[2] = (byte)(_status & 0x77);
        frame[3] = _error;
        BinaryPrimitives.WriteUInt32LittleEndian(frame[4..], done);
        Post(frame, Fis.SetDeviceBitsOffset);
        _serialActive &= ~done;
        if (failed)
            Stop(TaskFileError | SetDeviceBitsReceived);
        else
            Raise(SetDeviceBitsReceived);
    }

    /// <summary>Nothing more is fetched until software has stopped and started the list.</summary>
    private void Stop(uint interrupt)
    {
        _isActive = false;
        _isStopped = true;
        Raise(interrupt);
    }

    private void PostRegisters(bool interrupt)
    {
        Span<byte> frame = stackalloc byte[Fis.RegisterLength];
        Fis.Fill(frame, Fis.RegisterToHost, interrupt ? Fis.InterruptBit : (byte)0, _device!);
        _status = frame[2];
        _error = frame[3];
        Post(frame, Fis.RegisterOffset);
        if (interrupt)
            Raise(RegisterFisReceived);
    }

    /// <param name="frame">The registers as they were when the device asked for the block.</param>
    /// <param name="device">As it is now that the block has been moved.</param>
    private void PostPioSetup(Span<byte> frame, AtaDevice device, int length, bool interrupt)
    {
        const int endingStatus = 15, count = 16;
        frame[endingStatus] = (byte)device.Status;
        BinaryPrimitives.WriteUInt16LittleEndian(frame[count..], (ushort)length);
        Post(frame, Fis.PioSetupOffset);
        _status = frame[endingStatus];
        _error = frame[3];
        if (interrupt)
            Raise(PioSetupReceived);
    }

    private void Post(ReadOnlySpan<byte> frame, ulong offset)
    {
        if ((_command & FisReceive) != 0 && _controller.CanTransfer)
            _memory.TryWrite(_fisBase + offset, frame);
    }

    private void WriteByteCount()
    {
        Span<byte> count = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(count, _moved);
        _memory.TryWrite(_commandList + (ulong)_slot * HeaderLength + ByteCountField, count);
    }

    private unsafe void NoteWritten()
    {
        foreach (ref readonly var segment in _regions.Segments.Span)
            _memory.NoteWritten(segment.Address, segment.Length);
    }

    /// <summary>Has the host do what the device needs: on this thread, or on another if it has to wait.</summary>
    private void DoWork()
    {
        while (TakeWork())
        {
            if (_device!.WorkWaits)
                ThreadPool.UnsafeQueueUserWorkItem(static port => port.DoWorkHere(), this, preferLocal: false);
            else
                DoWorkOnce();
        }
    }

    private void DoWorkHere()
    {
        DoWorkOnce();
        DoWork();
    }

    private void DoWorkOnce()
    {
        _device!.Work();
        lock (_lock)
        {
            _device.WorkDone();
            if (!_isActive && !_awaitsSignature && !_device.IsInReset)
            {
                // Of a command that software has given up.
                _status = (byte)_device.Status;
                _error = (byte)_device.Error;
            }

            Proceed();
        }
    }

    /// <summary>Most accesses leave no work, and find that out without the lock.</summary>
    private bool TakeWork()
    {
        if (_device is not { HasWork: true })
            return false;
        lock (_lock)
        {
            if (!_device.HasWork)
                return false;
            _device.TakeWork();
            return true;
        }
    }
}
