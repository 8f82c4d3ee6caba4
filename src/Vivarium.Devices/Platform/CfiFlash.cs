using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A flash memory with the Intel command set (JEDEC JESD68.01 CFI, command set 0001h; Intel 28F640J3 data sheet), one byte wide. While
/// it shows its contents, the guest reads and executes them as ROM, and only its writes, which are commands, come here. One thing is
/// as on the boards that OVMF was made for, and not as in a chip: clearing the status clears the ready bit too, until something has
/// been programmed or erased. OVMF takes the memory for flash only if it then reads 0 (QemuFlashFvbServicesRuntimeDxe).
/// </summary>
public sealed class CfiFlash : IMmioDevice
{
    /// <summary>What an erase command clears, in bytes.</summary>
    public const int BlockSize = 4096;

    // Commands.
    private const byte ProgramAlternate = 0x10;
    private const byte EraseBlock = 0x20;
    private const byte Program = 0x40;
    private const byte ClearStatus = 0x50;
    private const byte LockSetup = 0x60;
    private const byte ReadStatus = 0x70;
    private const byte ReadIdentifier = 0x90;
    private const byte Confirm = 0xD0;
    private const byte ReadArray = 0xFF;

    // Status.
    private const byte Ready = 1 << 7;
    private const byte EraseFailed = 1 << 5;
    private const byte ProgramFailed = 1 << 4;

    private const byte Manufacturer = 0x89;
    private const byte DeviceCode = 0x18;
    private const byte Erased = 0xFF;

    private readonly Lock _lock = new();
    private readonly GuestMemory _memory;
    private readonly MemoryRegion _region;
    private readonly ulong _address;
    private readonly Action<int, int> _changed;
    private byte _mode = ReadArray;
    private byte _pending;
    private byte _status = Ready;
    private int _dirtyStart = int.MaxValue;
    private int _dirtyEnd;

    /// <param name="region">The contents.</param>
    /// <param name="address">Where it stands for good.</param>
    /// <param name="changed">Told, after the contents have changed and when they are shown again, which bytes: offset and length.</param>
    public CfiFlash(GuestMemory memory, MemoryRegion region, ulong address, Action<int, int> changed)
    {
        _memory = memory;
        _region = region;
        _address = address;
        _changed = changed;
    }

    public void Map(MmioBus mmio)
    {
        mmio.Map(_address, _region.Length, this, "flash");
        Show(true);
    }

    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_lock)
        {
            ulong value = 0;
            for (var i = 0; i < size; i++)
                value |= (ulong)ReadByte((int)offset + i) << (8 * i);
            return value;
        }
    }

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        lock (_lock)
        {
            if (_pending is Program or ProgramAlternate)
                ProgramBytes((int)offset, size, value);
            else if (_pending == EraseBlock)
                Erase((int)offset, (byte)value);
            else if (_pending == LockSetup)
                EnterMode(ReadStatus);
            else
                Take((byte)value);
        }
    }

    /// <summary>Tells of changes that the guest has not shown again yet; the guest has stopped.</summary>
    public void Flush()
    {
        lock (_lock)
            TellChanges();
    }

    public CfiFlashState Save()
    {
        lock (_lock)
            return new() { Mode = _mode, Pending = _pending, Status = _status };
    }

    /// <summary>Takes the registers; the contents are part of the machine's memory, and all of them count as changed.</summary>
    public void Restore(CfiFlashState state)
    {
        StateFormat.Require(
            state is { Version: CfiFlashState.CurrentVersion, Mode: ReadArray or ReadStatus or ReadIdentifier }
            && (state.Pending == 0 || (state.Mode == ReadStatus && state.Pending is Program or ProgramAlternate or EraseBlock or LockSetup)), "flash memory");
        lock (_lock)
        {
            NoteChange(0, (int)_region.Length);
            EnterMode(state.Mode);
            _pending = state.Pending;
            _status = (byte)(state.Status & (Ready | EraseFailed | ProgramFailed));
        }
    }

    private byte ReadByte(int offset) => _mode switch
    {
        ReadArray => _region.Bytes[offset],
        ReadIdentifier => (offset & 3) switch { 0 => Manufacturer, 1 => DeviceCode, _ => 0 },
        _ => _status,
    };

    private void Take(byte command)
    {
        switch (command)
        {
            case Program or ProgramAlternate or EraseBlock or LockSetup:
                EnterMode(ReadStatus);
                _pending = command;
                break;
            case ClearStatus:
                _status = 0;
                break;
            case ReadStatus or ReadIdentifier:
                EnterMode(command);
                break;
            default:
                EnterMode(ReadArray);
                break;
        }
    }

    /// <summary>Bits can only be cleared; an erase sets them.</summary>
    private void ProgramBytes(int offset, int size, ulong value)
    {
        for (var i = 0; i < size; i++)
            _region.Bytes[offset + i] &= (byte)(value >> (8 * i));
        NoteChange(offset, size);
        _status |= Ready;
        EnterMode(ReadStatus);
    }

    private void Erase(int offset, byte command)
    {
        if (command == Confirm)
        {
            var start = offset & ~(BlockSize - 1);
            _region.Bytes.Slice(start, BlockSize).Fill(Erased);
            NoteChange(start, BlockSize);
        }
        else
        {
            _status |= EraseFailed | ProgramFailed;
        }

        _status |= Ready;
        EnterMode(ReadStatus);
    }

    private void EnterMode(byte mode)
    {
        _pending = 0;
        if (mode == ReadArray)
            TellChanges();
        if ((mode == ReadArray) != (_mode == ReadArray))
            Show(mode == ReadArray);
        _mode = mode;
    }

    private void Show(bool contents)
    {
        if (contents)
            _memory.Map(_address, _region, 0, _region.Length, readOnly: true);
        else
            _memory.Unmap(_address, _region.Length);
    }

    private void NoteChange(int offset, int length)
    {
        _dirtyStart = Math.Min(_dirtyStart, offset);
        _dirtyEnd = Math.Max(_dirtyEnd, offset + length);
    }

    private void TellChanges()
    {
        if (_dirtyEnd == 0)
            return;
        _changed(_dirtyStart, _dirtyEnd - _dirtyStart);
        (_dirtyStart, _dirtyEnd) = (int.MaxValue, 0);
    }
}
