using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A CD drive as an ATA packet device (ATA8-ACS, 4.3 and 7.21; SFF-8020i): the few commands of its own, and the protocol that
/// brings command packets to an <see cref="MmcDrive"/> and data back, by PIO in pieces that the host bounds, or by DMA.
/// </summary>
public sealed unsafe partial class AtapiDrive : AtaDevice, IRemovableDrive
{
    /// <summary>Sectors of 512 bytes that PIO reads ahead: 64 KiB.</summary>
    private const int BufferSectors = 128;

    // The Count register is the interrupt reason (ATA8-ACS, 6.3.6; SFF-8020i, 7.2.4).
    private const byte CommandOrStatus = 1 << 0;
    private const byte ToHost = 1 << 1;

    // PACKET's Features.
    private const byte DmaFeature = 1 << 0;
    private const byte OverlapFeature = 1 << 1;

    // SET FEATURES.
    private const byte SetTransferMode = 0x03;
    private const byte PowerActive = 0xFF;

    private readonly GuestMemory _memory;
    private readonly MmcDrive _drive;
    private readonly string _serial;
    private byte _dmaMode = TransferMode.InitialDma;

    /// <param name="memory">The guest's memory, for DMA.</param>
    /// <param name="medium">The disc in the drive: its length is a multiple of 2048. Null for none.</param>
    /// <param name="serial">What the guest reads as the drive's serial number: ASCII, cut at 20 characters.</param>
    /// <param name="isOpen">The tray is out.</param>
    public AtapiDrive(GuestMemory memory, IBlockBackend? medium, string serial, bool isOpen = false)
        : base(BufferSectors * SectorSize)
    {
        _memory = memory;
        _drive = new MmcDrive(medium, isOpen);
        _serial = serial;
    }

    /// <summary>The host could not read the disc; the guest gets an error, the user may be told why. Without any lock.</summary>
    public Action<string>? Failed { get; set; }

    /// <summary>The guest has let the tray out (true), or drawn it in.</summary>
    public Action<bool>? TrayMoved
    {
        get => _drive.TrayMoved;
        set => _drive.TrayMoved = value;
    }

    private protected override ushort Signature => 0xEB14;

    /// <summary>A packet device is not ready for ATA commands after a reset (ATA8-ACS, 4.14).</summary>
    private protected override AtaStatus ResetStatus => AtaStatus.None;

    internal override bool TakesDeviceReset => true;

    internal override uint DmaUnit => 1;

    /// <summary>Puts a disc in and closes the tray.</summary>
    /// <inheritdoc/>
    public void Insert(IBlockBackend medium)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(medium.Length % MmcDrive.BlockSize, 0ul);
        lock (Gate)
            _drive.Insert(medium);
        WaitForReads(medium);
    }

    /// <summary>Lets the tray out and takes the disc.</summary>
    /// <inheritdoc/>
    public bool Eject(bool force)
    {
        lock (Gate)
        {
            if (_drive.IsLocked && !force)
            {
                _drive.RequestEject();
                return false;
            }

            _drive.Remove();
        }

        WaitForReads(null);
        return true;
    }

    private protected override void Execute(AtaCommand command)
    {
        _work = WorkKind.None;
        _left = 0;
        switch (command)
        {
            case AtaCommand.Packet:
                ExpectPacket();
                break;
            case AtaCommand.IdentifyPacketDevice:
                Identify();
                break;
            case AtaCommand.IdentifyDevice or AtaCommand.ReadSectors:
                FailWithSignature();
                break;
            case AtaCommand.SetFeatures:
                SetFeatures();
                break;
            case AtaCommand.CheckPowerMode:
                Registers.Set(AtaRegisters.Count, PowerActive);
                Complete();
                break;
            case AtaCommand.IdleImmediate or AtaCommand.StandbyImmediate or AtaCommand.Sleep or AtaCommand.FlushCache:
                Complete();
                break;
            default:
                Fail(AtaError.Abort);
                break;
        }
    }

    private protected override void OnReset()
    {
        _left = 0;
        _drive.Reset();
    }

    private void SetFeatures()
    {
        var mode = Registers[AtaRegisters.Count];
        if (Registers[AtaRegisters.ErrorOrFeatures] != SetTransferMode || !TransferMode.IsOffered(mode, out var isDma))
        {
            Fail(AtaError.Abort);
            return;
        }

        if (isDma)
            _dmaMode = mode;
        Complete();
    }
}
