using System.Runtime.CompilerServices;

namespace Vivarium.Devices;

/// <summary>
/// One device on an <see cref="AtaChannel"/>: its registers, and the protocols by which any device moves data (ATA8-ACS, 4;
/// ATA8-APT). What the commands mean is the derived class's. All is called under the channel's lock but
/// <see cref="Work"/>, which the channel calls when <see cref="HasWork"/>, without any lock; until <see cref="WorkDone"/>
/// the device is busy and nothing of it changes.
/// </summary>
public abstract class AtaDevice
{
    private protected const int SectorSize = 512;

    private enum ResetStage : byte
    {
        None,

        /// <summary>SRST is set.</summary>
        Asserted,

        /// <summary>SRST is clear again, but the host still works on what was going on before.</summary>
        WaitingForWork,
    }

    private readonly byte[] _buffer;
    private AtaRegisters _registers;
    private ResetStage _reset;
    private DmaDirection _pio;
    private int _position;
    private int _blockEnd;
    private bool _working;

    /// <param name="bufferSize">Bytes for data on their way by PIO; a multiple of 512.</param>
    private protected AtaDevice(int bufferSize)
    {
        // Pinned, as the host reads and writes it.
        _buffer = GC.AllocateUninitializedArray<byte>(bufferSize, pinned: true);
        SetSignature();
    }

    internal AtaStatus Status { get; private set; }

    internal AtaError Error { get; private set; }

    /// <summary>The device wants to interrupt.</summary>
    internal bool Interrupt { get; set; }

    /// <summary>Which way the device waits to move data by DMA, and how many bytes are left.</summary>
    internal DmaDirection Dma { get; private set; }

    internal ulong DmaLeft { get; private set; }

    /// <summary>Something is to be done by <see cref="Work"/>, and nobody does it yet.</summary>
    internal bool HasWork { get; private set; }

    /// <summary>That work waits for the host's disk; it is not for a vCPU's thread.</summary>
    internal bool WorkWaits { get; private set; }

    /// <summary>Somebody is doing the work, or will.</summary>
    internal bool IsWorking => _working;

    internal bool IsBusy => (Status & AtaStatus.Busy) != 0;

    /// <summary>SRST is set, or the device is not done with the work that was going on then.</summary>
    internal bool IsInReset => _reset != ResetStage.None;

    /// <summary>Which way the device waits to move data by PIO.</summary>
    internal DmaDirection Pio => _pio;

    /// <summary>The bytes that PIO moves next: the host's to read, or to write.</summary>
    internal Span<byte> PioBlock => _buffer.AsSpan(_position, _blockEnd - _position);

    private protected ref AtaRegisters Registers => ref _registers;

    private protected Span<byte> Buffer => _buffer;

    private protected unsafe byte* BufferAddress => (byte*)Unsafe.AsPointer(ref _buffer[0]);

    /// <summary>What LBA Mid and High hold after a reset: they tell disks from others.</summary>
    private protected abstract ushort Signature { get; }

    /// <summary>Status after a reset.</summary>
    private protected virtual AtaStatus ResetStatus => AtaStatus.Ready | AtaStatus.SeekComplete;

    /// <summary>The lock of what the device is connected to; for those who come from elsewhere than from there.</summary>
    internal Lock Gate { get; set; } = new();

    /// <summary>It is a packet device, which DEVICE RESET is for.</summary>
    internal virtual bool TakesDeviceReset => false;

    /// <summary>DMA moves multiples of so many bytes.</summary>
    internal virtual uint DmaUnit => SectorSize;

    /// <summary>Reads a command block register other than Data and Status.</summary>
    internal byte ReadRegister(int register, bool previous)
    {
        if (register == AtaRegisters.ErrorOrFeatures)
            return (byte)Error;
        return previous && register != AtaRegisters.Device ? _registers.Previous(register) : _registers[register];
    }

    /// <summary>Writes a command block register other than Data and Command. A busy device does not notice.</summary>
    internal void WriteRegister(int register, byte value)
    {
        if (!IsBusy)
            _registers.Write(register, value);
    }

    /// <summary>Writes the Command register of a device that is not busy. What was going on ends.</summary>
    internal void WriteCommand(byte command)
    {
        _pio = DmaDirection.None;
        Dma = DmaDirection.None;
        Execute((AtaCommand)command);
    }

    /// <summary>Reads the Data register, 1, 2 or 4 bytes.</summary>
    internal uint ReadData(int size)
    {
        if (_pio != DmaDirection.ToMemory)
            return 0;
        uint value = 0;
        if (_blockEnd - _position >= sizeof(uint))
        {
            // What is beyond the size of the access is not looked at.
            value = Unsafe.ReadUnaligned<uint>(ref _buffer[_position]);
            _position += size;
        }
        else
        {
            for (var i = 0; i < size && _position < _blockEnd; i++)
                value |= (uint)_buffer[_position++] << (8 * i);
        }

        if (_position == _blockEnd)
        {
            _pio = DmaDirection.None;
            OnBlockRead();
        }

        return value;
    }

    /// <summary>Writes the Data register, 1, 2 or 4 bytes.</summary>
    internal void WriteData(int size, uint value)
    {
        if (_pio != DmaDirection.FromMemory)
            return;
        for (var i = 0; i < size && _position < _blockEnd; i++)
            _buffer[_position++] = (byte)(value >> (8 * i));
        if (_position == _blockEnd)
        {
            _pio = DmaDirection.None;
            OnBlockWritten();
        }
    }

    /// <summary>All of <see cref="PioBlock"/> has been read or written.</summary>
    internal void PioBlockMoved()
    {
        var direction = _pio;
        _pio = DmaDirection.None;
        if (direction == DmaDirection.ToMemory)
            OnBlockRead();
        else
            OnBlockWritten();
    }

    /// <summary>A register as it stands, or what was in it before: for those who send all of them at once.</summary>
    internal byte Peek(int register, bool previous) => previous ? _registers.Previous(register) : _registers[register];

    /// <summary>A queued command has failed; the registers say where.</summary>
    internal virtual void NoteQueuedError(int tag)
    {
    }

    /// <summary>
    /// Memory for the DMA that the device waits for: whole sectors, at most <see cref="DmaLeft"/>. The segments are the
    /// device's until its work is done.
    /// </summary>
    internal void StartDma(ReadOnlyMemory<IoSegment> segments, ulong length)
    {
        Status = AtaStatus.Busy;
        OnDma(Dma, segments, length);
    }

    /// <summary>The DMA has gone well so far: what is left is waited for.</summary>
    private protected bool DmaAdvance(ulong length)
    {
        DmaLeft -= length;
        if (DmaLeft != 0)
        {
            Status = AtaStatus.Ready | AtaStatus.SeekComplete | AtaStatus.DataRequest;
            return false;
        }

        Dma = DmaDirection.None;
        return true;
    }

    /// <summary>SRST is being set.</summary>
    internal void BeginReset()
    {
        _reset = ResetStage.Asserted;
        _pio = DmaDirection.None;
        Dma = DmaDirection.None;
        Interrupt = false;
        Status = AtaStatus.Busy;
    }

    /// <summary>SRST is being cleared: the device is ready as soon as the host is done with what was going on.</summary>
    internal void EndReset()
    {
        if (_reset != ResetStage.Asserted)
            return;
        if (HasWork || _working)
        {
            _reset = ResetStage.WaitingForWork;
            return;
        }

        _reset = ResetStage.None;
        OnReset();
        SetSignature();
    }

    /// <summary>EXECUTE DEVICE DIAGNOSTIC; all is well with the device.</summary>
    internal void Diagnose()
    {
        _pio = DmaDirection.None;
        Dma = DmaDirection.None;
        Interrupt = false;
        SetSignature();
    }

    /// <summary>The channel is about to call <see cref="Work"/>, or to have it called by another thread.</summary>
    internal void TakeWork()
    {
        HasWork = false;
        _working = true;
    }

    /// <summary>Does what the host must do, without any lock. Never throws.</summary>
    internal abstract void Work();

    /// <summary>The work is done.</summary>
    internal void WorkDone()
    {
        _working = false;
        if (_reset == ResetStage.None)
        {
            OnWorkDone();
        }
        else if (_reset == ResetStage.WaitingForWork)
        {
            _reset = ResetStage.Asserted;
            EndReset();
        }
    }

    internal abstract AtaDeviceState Save();

    /// <exception cref="InvalidDataException">The state cannot be one of this device.</exception>
    internal abstract void Restore(AtaDeviceState state);

    private protected abstract void Execute(AtaCommand command);

    /// <summary>The host has read the block that <see cref="OfferBlock"/> gave.</summary>
    private protected abstract void OnBlockRead();

    /// <summary>The host has written the block that <see cref="ExpectBlock"/> asked for.</summary>
    private protected abstract void OnBlockWritten();

    private protected abstract void OnDma(DmaDirection direction, ReadOnlyMemory<IoSegment> segments, ulong length);

    private protected abstract void OnWorkDone();

    private protected abstract void OnReset();

    /// <summary>The command is done.</summary>
    private protected void Complete()
    {
        Dma = DmaDirection.None;
        Error = AtaError.None;
        Status = AtaStatus.Ready | AtaStatus.SeekComplete;
        Interrupt = true;
    }

    /// <summary>A read command by PIO is done: its last block was announced by an interrupt, its end is not.</summary>
    private protected void CompleteQuietly()
    {
        Complete();
        Interrupt = false;
    }

    /// <summary>The command has failed.</summary>
    private protected void Fail(AtaError error)
    {
        Complete();
        Error = error;
        Status |= AtaStatus.Error;
    }

    /// <summary>The command has failed, and the registers tell what the device is: it belongs to the other kind of device.</summary>
    private protected void FailWithSignature()
    {
        SetSignature();
        Fail(AtaError.Abort);
    }

    /// <summary>The bytes of the buffer from <paramref name="start"/> to <paramref name="end"/> are the host's to read.</summary>
    private protected void OfferBlock(int start, int end)
    {
        _pio = DmaDirection.ToMemory;
        _position = start;
        _blockEnd = end;
        Error = AtaError.None;
        Status = AtaStatus.Ready | AtaStatus.SeekComplete | AtaStatus.DataRequest;
        Interrupt = true;
    }

    /// <summary>The host is to write <paramref name="length"/> bytes into the buffer.</summary>
    private protected void ExpectBlock(int length, bool interrupt)
    {
        _pio = DmaDirection.FromMemory;
        _position = 0;
        _blockEnd = length;
        Error = AtaError.None;
        Status = AtaStatus.Ready | AtaStatus.SeekComplete | AtaStatus.DataRequest;
        Interrupt = interrupt;
    }

    /// <summary>The device waits for the bus master.</summary>
    private protected void WaitForDma(DmaDirection direction, ulong length)
    {
        Dma = direction;
        DmaLeft = length;
        Error = AtaError.None;
        Status = AtaStatus.Ready | AtaStatus.SeekComplete | AtaStatus.DataRequest;
    }

    /// <summary>The host has something to do; the device is busy until then.</summary>
    private protected void NeedWork(bool waits)
    {
        Status = AtaStatus.Busy;
        HasWork = true;
        WorkWaits = waits;
    }

    /// <summary>What every device saves; no work may be under way.</summary>
    private protected AtaTransferState SaveTransfer() => new()
    {
        Registers = _registers.Save(),
        Status = (byte)Status,
        Error = (byte)Error,
        Interrupt = Interrupt,
        InReset = _reset != ResetStage.None,
        Pio = (byte)_pio,
        Position = _position,
        BlockEnd = _blockEnd,
        Dma = (byte)Dma,
        DmaLeft = DmaLeft,
        Buffer = _pio == DmaDirection.None ? [] : [.. _buffer],
    };

    /// <summary>Takes what <see cref="SaveTransfer"/> gave.</summary>
    private protected void RestoreTransfer(AtaTransferState state)
    {
        StateFormat.Require(state is { Registers.Length: AtaRegisters.Size, Buffer: not null }
            && state.Pio <= (byte)DmaDirection.FromMemory && state.Dma <= (byte)DmaDirection.FromMemory
            && (state.Pio == 0 || (state.Buffer.Length == _buffer.Length && state.Position >= 0
                && state.Position < state.BlockEnd && state.BlockEnd <= _buffer.Length)), "ATA device");
        _registers.Restore(state.Registers);
        Status = (AtaStatus)state.Status;
        Error = (AtaError)state.Error;
        Interrupt = state.Interrupt;
        _reset = state.InReset ? ResetStage.Asserted : ResetStage.None;
        _pio = (DmaDirection)state.Pio;
        Dma = (DmaDirection)state.Dma;
        DmaLeft = state.DmaLeft;
        HasWork = false;
        if (_pio == DmaDirection.None)
            return;
        _position = state.Position;
        _blockEnd = state.BlockEnd;
        state.Buffer!.CopyTo(_buffer, 0);
    }

    /// <summary>The signature that tells what the device is and that it has passed its tests (ATA8-ACS, 4.14 and 7.12).</summary>
    private void SetSignature()
    {
        const byte passed = 1;
        _registers = default;
        _registers.Set(AtaRegisters.Count, 1);
        _registers.Set(AtaRegisters.LbaLow, 1);
        _registers.Set(AtaRegisters.LbaMid, (byte)Signature);
        _registers.Set(AtaRegisters.LbaHigh, (byte)(Signature >> 8));
        Error = (AtaError)passed;
        Status = ResetStatus;
    }
}
