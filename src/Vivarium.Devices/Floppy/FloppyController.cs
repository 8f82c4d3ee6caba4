namespace Vivarium.Devices;

/// <summary>
/// A floppy disk controller, the 82077AA (Intel data sheet 290166) as PCs have it at port 3F0h, with two drives, interrupt 6
/// and DMA channel 2: registers, and the phases of a command. What the commands do stands in the other parts. Commands take
/// no time but the host's.
/// </summary>
public sealed partial class FloppyController : IPortDevice, IDisposable
{
    public const int Irq = 6;
    public const int DmaChannelNumber = 2;
    public const int MaxDrives = 2;

    /// <summary>The CMOS register in which a BIOS expects the types of the drives.</summary>
    public const int CmosDrives = 0x10;

    // The ports that AT-style controllers have. 3F6h is the hard disk controller's.
    private const ushort FirstPorts = 0x3F2;
    private const int FirstCount = 4;
    private const ushort LastPort = 0x3F7;

    // Registers, counted from 3F0h.
    private const int DigitalOutput = 2;
    private const int TapeDrive = 3;
    private const int StatusOrDataRate = 4;
    private const int Data = 5;
    private const int InputOrControl = 7;

    // Digital output register.
    private const byte DriveMask = 0x03;
    private const byte NotReset = 1 << 2;
    private const byte DmaGate = 1 << 3;

    // Main status register.
    private const byte Busy = 1 << 4;
    private const byte NonDma = 1 << 5;
    private const byte ToHost = 1 << 6;
    private const byte Request = 1 << 7;

    private const byte RateMask = 0x03;
    private const byte SoftwareReset = 1 << 7;
    private const byte DiskChange = 1 << 7;
    private const byte Floating = 0xFF;

    private const int PolledDrives = 4;

    private enum Phase : byte
    {
        /// <summary>A command's bytes are awaited, or come.</summary>
        Command,

        /// <summary>The host reads or writes the disk.</summary>
        Work,

        /// <summary>Data go byte by byte, without DMA.</summary>
        ReadBytes,
        WriteBytes,
        Result,
    }

    private readonly Lock _lock = new();
    private readonly DmaController _dma;
    private readonly InterruptLine _line;
    private readonly FloppyDrive[] _drives;
    private byte _output = DmaGate;
    private byte _tape;
    private FloppyRate _rate = FloppyRate.Kilobits250;
    private Phase _phase;
    private readonly byte[] _command = new byte[9];
    private int _commandLength;
    private readonly byte[] _result = new byte[10];
    private int _resultLength;
    private int _resultRead;
    private bool _interrupt;

    /// <summary>Drives whose seek, or whose polling after a reset, has not been asked for, and what ST0 will say of each.</summary>
    private readonly byte[] _senseStatus = new byte[PolledDrives];
    private byte _unsensed;
    private byte _seeking;

    // SPECIFY, CONFIGURE, PERPENDICULAR MODE, LOCK.
    private byte _stepAndUnload;
    private byte _loadAndMode;
    private byte _configuration = NoFifo;
    private byte _precompensation;
    private byte _perpendicular;
    private bool _isLocked;
    private byte _lastEndOfTrack;

    /// <param name="dma">The controllers that channel 2 is of.</param>
    /// <param name="interrupts">For interrupt 6.</param>
    /// <param name="media">For each drive the disk in it, of one of the sizes of <see cref="FloppyGeometry"/>; null for none.</param>
    public FloppyController(DmaController dma, InterruptRouter interrupts, params ReadOnlySpan<IBlockBackend?> media)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(media.Length, MaxDrives);
        _dma = dma;
        _line = interrupts.CreateIsaLine(Irq);
        _drives = new FloppyDrive[media.Length];
        for (var i = 0; i < media.Length; i++)
            _drives[i] = new FloppyDrive(this, media[i]);
    }

    /// <summary>The host could not read or write a disk; the guest gets an error, the user may be told why. Without any lock.</summary>
    public Action<string>? Failed { get; set; }

    public IReadOnlyList<FloppyDrive> Drives => _drives;

    /// <summary>What CMOS register 10h says: drive A in the upper four bits.</summary>
    public byte CmosDriveTypes => (byte)(TypeOf(0) << 4 | TypeOf(1));

    /// <summary>The bits of CMOS register 14h that tell of floppy drives.</summary>
    public byte CmosEquipmentBits => _drives.Length == 0 ? (byte)0 : (byte)(1 | (_drives.Length - 1) << 6);

    public void Map(PortBus ports)
    {
        ports.Map(FirstPorts, FirstCount, this, "floppy controller", DigitalOutput);
        ports.Map(LastPort, 1, this, "floppy controller", InputOrControl);
    }

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        lock (_lock)
        {
            for (var i = 0; i < size; i++)
                value |= (uint)Read(offset + i) << (8 * i);
        }

        DoWork();
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        for (var i = 0; i < size; i++)
        {
            lock (_lock)
                Write(offset + i, (byte)(value >> (8 * i)));
            DoWork();
        }
    }

    /// <summary>Returns when nothing touches guest memory or disks any more; the guest has stopped before.</summary>
    public void Dispose()
    {
        var spin = new SpinWait();
        while (IsWorking(null))
            spin.SpinOnce();
    }

    /// <summary>A drive gets another disk, or none. Returns when the one before is no longer used.</summary>
    internal void Change(FloppyDrive drive, IBlockBackend? medium)
    {
        IBlockBackend? old;
        lock (_lock)
        {
            old = drive.Medium;
            drive.Put(medium);
        }

        var spin = new SpinWait();
        while (old is not null && !ReferenceEquals(old, medium) && IsWorking(old))
            spin.SpinOnce();
    }

    private int TypeOf(int drive) => drive < _drives.Length ? (int)_drives[drive].Type : 0;

    private byte Read(int register)
    {
        switch (register)
        {
            case DigitalOutput:
                return _output;
            case TapeDrive:
                return _tape;
            case StatusOrDataRate:
                return MainStatus();
            case Data:
                return ReadData();
            case InputOrControl:
                var drive = _output & DriveMask;
                return drive < _drives.Length && _drives[drive].IsChanged ? DiskChange : (byte)0;
            default:
                return Floating;
        }
    }

    private void Write(int register, byte value)
    {
        switch (register)
        {
            case DigitalOutput:
                WriteOutput(value);
                break;
            case TapeDrive:
                _tape = (byte)(value & 3);
                break;
            case StatusOrDataRate:
                _rate = (FloppyRate)(value & RateMask);
                if ((value & SoftwareReset) != 0 && (_output & NotReset) != 0)
                {
                    BeginReset();
                    EndReset();
                }

                break;
            case Data:
                WriteData(value);
                break;
            case InputOrControl:
                _rate = (FloppyRate)(value & RateMask);
                break;
        }
    }

    private void WriteOutput(byte value)
    {
        var was = _output;
        _output = value;
        if ((value & NotReset) == 0)
            BeginReset();
        else if ((was & NotReset) == 0)
            EndReset();
        DriveInterrupt();
    }

    private byte MainStatus()
    {
        if ((_output & NotReset) == 0)
            return 0;
        return _phase switch
        {
            // The host is not done with what was going on before a reset.
            Phase.Command when _isWorking => Busy,
            Phase.Command => (byte)(Request | (_commandLength != 0 ? Busy : 0) | _seeking),
            Phase.Work => Busy,
            Phase.ReadBytes => Request | ToHost | NonDma | Busy,
            Phase.WriteBytes => Request | NonDma | Busy,
            _ => Request | ToHost | Busy,
        };
    }

    private void BeginReset()
    {
        _phase = Phase.Command;
        _hasWork = false;
        _commandLength = 0;
        _unsensed = 0;
        _seeking = 0;
        if (!_isLocked)
        {
            _configuration = NoFifo;
            _precompensation = 0;
        }

        _perpendicular &= 0x3C;
        Interrupt(false);
    }

    /// <summary>After a reset the controller polls its drives, and says that each has become ready (5.2.4).</summary>
    private void EndReset()
    {
        if ((_configuration & NoPolling) != 0)
            return;
        for (var i = 0; i < PolledDrives; i++)
            _senseStatus[i] = (byte)(ReadyChanged | i);
        _unsensed = (1 << PolledDrives) - 1;
        Interrupt(true);
    }

    private byte ReadData()
    {
        if ((_output & NotReset) == 0)
            return 0;
        switch (_phase)
        {
            case Phase.ReadBytes:
                return ReadByte();
            case Phase.Result:
                Interrupt(false);
                var value = _result[_resultRead++];
                if (_resultRead == _resultLength)
                    _phase = Phase.Command;
                return value;
            default:
                return 0;
        }
    }

    private void WriteData(byte value)
    {
        if ((_output & NotReset) == 0)
            return;
        if (_phase == Phase.WriteBytes)
        {
            WriteByte(value);
            return;
        }

        if (_phase != Phase.Command || _isWorking)
            return;
        _command[_commandLength++] = value;
        if (_commandLength < LengthOf(_command[0]))
            return;
        _commandLength = 0;
        Execute();
    }

    /// <summary>The bytes in <see cref="_result"/> are the host's to read.</summary>
    private void Respond(int length)
    {
        _phase = Phase.Result;
        _resultLength = length;
        _resultRead = 0;
    }

    private void Interrupt(bool level)
    {
        _interrupt = level;
        DriveInterrupt();
    }

    private void DriveInterrupt() => _line.Set(_interrupt && (_output & DmaGate) != 0);
}
