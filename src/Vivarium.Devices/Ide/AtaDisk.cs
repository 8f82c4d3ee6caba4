using System.Numerics;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A hard disk (ATA8-ACS; cylinders, heads and sectors as ATA-3 has them). Reads and writes are carried out on the thread
/// that asks for them; what waits for the host's disk (flush, write without cache, verify, trim) on another.
/// </summary>
public sealed unsafe partial class AtaDisk : AtaDevice
{
    /// <summary>The serial number's length in IDENTIFY DEVICE.</summary>
    public const int SerialLength = IdentifyWords.SerialLength;

    /// <summary>Sectors that a READ or WRITE MULTIPLE block can have; 16 is what systems of old expect at most.</summary>
    private const byte MaxMultiple = 16;

    /// <summary>Sectors that PIO reads ahead.</summary>
    private const int BufferSectors = 128;

    // The geometry that a disk of more than 8 GB says it has; a smaller one has fewer cylinders.
    private const int DefaultHeads = 16;
    private const int DefaultSectorsPerTrack = 63;
    private const int MaxDefaultCylinders = 16383;

    // CHECK POWER MODE.
    private const byte PowerStandby = 0x00;
    private const byte PowerIdle = 0x80;
    private const byte PowerActive = 0xFF;

    // SET FEATURES subcommands.
    private const byte EnableWriteCache = 0x02;
    private const byte SetTransferMode = 0x03;
    private const byte DisableLookAhead = 0x55;
    private const byte KeepSettings = 0x66;
    private const byte DisableWriteCache = 0x82;
    private const byte EnableLookAhead = 0xAA;
    private const byte RevertSettings = 0xCC;

    // DATA SET MANAGEMENT.
    private const byte TrimBit = 1;
    private const int MaxTrimBlocks = 8;

    private readonly GuestMemory _memory;
    private readonly IBlockBackend _backend;
    private readonly string _serial;
    private readonly bool _isSerialAta;

    private int _heads = DefaultHeads;
    private int _sectorsPerTrack = DefaultSectorsPerTrack;

    /// <summary>Sectors in a block of READ and WRITE MULTIPLE; as firmware sets it, for systems that take what they find.</summary>
    private byte _multiple = MaxMultiple;
    private byte _transferMode = TransferMode.PioFlowControl | TransferMode.MaxPio;

    /// <summary>The DMA mode that is selected: the last of its kind that was set.</summary>
    private byte _dmaMode = TransferMode.InitialDma;
    private bool _writeCache = true;
    private bool _lookAhead = true;
    private bool _revertToDefaults;
    private byte _powerMode = PowerActive;
    private bool _asleep;

    /// <param name="backend">Its logical blocks are 512 bytes.</param>
    /// <param name="serial">What the guest reads as the disk's serial number: ASCII, cut at 20 characters.</param>
    /// <param name="isSerialAta">It is connected by Serial ATA, and takes queued commands.</param>
    public AtaDisk(GuestMemory memory, IBlockBackend backend, string serial, bool isSerialAta = false)
        : base(BufferSectors * SectorSize)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(backend.LogicalBlockSize, (uint)SectorSize);
        _memory = memory;
        _backend = backend;
        _serial = serial;
        _isSerialAta = isSerialAta;
    }

    /// <summary>
    /// A request has failed on the host; the guest gets an error, the user may be told why. On the thread of the request,
    /// without any lock.
    /// </summary>
    public Action<string>? Failed { get; set; }

    private protected override ushort Signature => 0;

    private ulong Sectors => _backend.Length / SectorSize;

    private int DefaultCylinders => (int)Math.Clamp(Sectors / (DefaultHeads * DefaultSectorsPerTrack), 1, MaxDefaultCylinders);

    /// <summary>Cylinders in the geometry that INITIALIZE DEVICE PARAMETERS has set.</summary>
    private int Cylinders
    {
        get
        {
            var tracks = (ulong)(_heads * _sectorsPerTrack);
            var reachable = Math.Min(Sectors, (ulong)DefaultCylinders * DefaultHeads * DefaultSectorsPerTrack);
            return (int)Math.Clamp(reachable / tracks, 1, ushort.MaxValue);
        }
    }

    private protected override void Execute(AtaCommand command)
    {
        if (_asleep)
            return;
        _left = 0;
        _block = 0;
        _buffered = 0;
        _trim = false;
        switch (command)
        {
            case AtaCommand.ReadSectors or AtaCommand.ReadSectorsNoRetry:
                ReadByPio(extended: false, block: 1);
                break;
            case AtaCommand.ReadSectorsExt:
                ReadByPio(extended: true, block: 1);
                break;
            case AtaCommand.ReadMultiple:
                ReadByPio(extended: false, _multiple);
                break;
            case AtaCommand.ReadMultipleExt:
                ReadByPio(extended: true, _multiple);
                break;
            case AtaCommand.WriteSectors or AtaCommand.WriteSectorsNoRetry:
                WriteByPio(extended: false, block: 1);
                break;
            case AtaCommand.WriteSectorsExt:
                WriteByPio(extended: true, block: 1);
                break;
            case AtaCommand.WriteMultiple:
                WriteByPio(extended: false, _multiple);
                break;
            case AtaCommand.WriteMultipleExt:
                WriteByPio(extended: true, _multiple);
                break;
            case AtaCommand.WriteMultipleFuaExt:
                WriteByPio(extended: true, _multiple, forceUnitAccess: true);
                break;
            case AtaCommand.ReadDma or AtaCommand.ReadDmaNoRetry:
                TransferByDma(DmaDirection.ToMemory, extended: false);
                break;
            case AtaCommand.ReadDmaExt:
                TransferByDma(DmaDirection.ToMemory, extended: true);
                break;
            case AtaCommand.WriteDma or AtaCommand.WriteDmaNoRetry:
                TransferByDma(DmaDirection.FromMemory, extended: false);
                break;
            case AtaCommand.WriteDmaExt:
                TransferByDma(DmaDirection.FromMemory, extended: true);
                break;
            case AtaCommand.WriteDmaFuaExt:
                TransferByDma(DmaDirection.FromMemory, extended: true, forceUnitAccess: true);
                break;
            case AtaCommand.ReadVerifySectors or AtaCommand.ReadVerifySectorsNoRetry:
                Verify(extended: false);
                break;
            case AtaCommand.ReadVerifySectorsExt:
                Verify(extended: true);
                break;
            case AtaCommand.ReadFpdmaQueued when _isSerialAta:
                TransferQueued(DmaDirection.ToMemory);
                break;
            case AtaCommand.WriteFpdmaQueued when _isSerialAta:
                TransferQueued(DmaDirection.FromMemory);
                break;
            case AtaCommand.ReadLogExt when _isSerialAta:
                ReadLog();
                break;
            case AtaCommand.FlushCache or AtaCommand.FlushCacheExt:
                Flush();
                break;
            case AtaCommand.DataSetManagement:
                ManageDataSet();
                break;
            case AtaCommand.IdentifyDevice:
                Identify();
                break;
            case AtaCommand.SetFeatures:
                SetFeatures();
                break;
            case AtaCommand.SetMultipleMode:
                SetMultiple();
                break;
            case AtaCommand.InitializeDeviceParameters:
                InitializeDeviceParameters();
                break;
            case AtaCommand.Seek:
                if (Locate(extended: false, sectors: 1))
                    Complete();
                break;
            case AtaCommand.StandbyImmediate or AtaCommand.Standby:
                EnterPowerMode(PowerStandby);
                break;
            case AtaCommand.IdleImmediate or AtaCommand.Idle:
                EnterPowerMode(PowerIdle);
                break;
            case AtaCommand.Sleep:
                EnterPowerMode(PowerStandby);
                _asleep = true;
                break;
            case AtaCommand.CheckPowerMode:
                Registers.Set(AtaRegisters.Count, _powerMode);
                Complete();
                break;
            case >= AtaCommand.Recalibrate and <= AtaCommand.Recalibrate + 0xF:
                Complete();
                break;
            default:
                // NOP among them, which is defined to fail.
                Fail(AtaError.Abort);
                break;
        }
    }

    private protected override void OnReset()
    {
        _asleep = false;
        _powerMode = PowerActive;
        if (!_revertToDefaults)
            return;
        _heads = DefaultHeads;
        _sectorsPerTrack = DefaultSectorsPerTrack;
        _multiple = MaxMultiple;
        _writeCache = true;
        _lookAhead = true;
    }

    private void SetFeatures()
    {
        switch (Registers[AtaRegisters.ErrorOrFeatures])
        {
            case EnableWriteCache:
                _writeCache = true;
                break;
            case DisableWriteCache:
                // What is in the cache must be safe before the host may rely on there being none.
                _writeCache = false;
                Flush();
                return;
            case SetTransferMode:
                if (!TrySetTransferMode(Registers[AtaRegisters.Count]))
                {
                    Fail(AtaError.Abort);
                    return;
                }

                break;
            case EnableLookAhead:
                _lookAhead = true;
                break;
            case DisableLookAhead:
                _lookAhead = false;
                break;
            case KeepSettings:
                _revertToDefaults = false;
                break;
            case RevertSettings:
                _revertToDefaults = true;
                break;
            default:
                Fail(AtaError.Abort);
                return;
        }

        Complete();
    }

    private bool TrySetTransferMode(byte mode)
    {
        if (!TransferMode.IsOffered(mode, out var isDma))
            return false;
        if (isDma)
            _dmaMode = mode;
        _transferMode = mode;
        return true;
    }

    private void SetMultiple()
    {
        var sectors = Registers[AtaRegisters.Count];
        if (sectors > MaxMultiple || (sectors != 0 && !BitOperations.IsPow2(sectors)))
        {
            Fail(AtaError.Abort);
            return;
        }

        _multiple = sectors;
        Complete();
    }

    private void InitializeDeviceParameters()
    {
        var sectors = Registers[AtaRegisters.Count];
        if (sectors == 0)
        {
            Fail(AtaError.Abort);
            return;
        }

        _sectorsPerTrack = sectors;
        _heads = Registers.Head + 1;
        Complete();
    }

    private void EnterPowerMode(byte mode)
    {
        _powerMode = mode;
        Complete();
    }
}
