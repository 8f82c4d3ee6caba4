namespace Vivarium.Devices;

/// <summary>What each command does (82077AA data sheet, 5), up to where sectors are moved.</summary>
public sealed partial class FloppyController
{
    // The first byte of a command.
    private const byte CommandMask = 0x1F;
    private const byte MultiTrack = 1 << 7;
    private const byte DoubleDensity = 1 << 6;
    private const byte LockBit = 1 << 7;
    private const byte RelativeSeekBit = 1 << 7;
    private const byte SeekInwards = 1 << 6;

    // Parameters.
    private const byte HeadBit = 1 << 2;
    private const byte EnableCount = 1 << 7;

    // ST0.
    private const byte AbnormalTermination = 0x40;
    private const byte InvalidCommand = 0x80;
    private const byte ReadyChanged = 0xC0;
    private const byte SeekEnd = 1 << 5;
    private const byte EquipmentCheck = 1 << 4;

    // ST3.
    private const byte WriteProtected = 1 << 6;
    private const byte AlwaysSet = 1 << 5 | 1 << 3;
    private const byte Track0 = 1 << 4;

    // CONFIGURE.
    private const byte ImpliedSeek = 1 << 6;
    private const byte NoFifo = 1 << 5;
    private const byte NoPolling = 1 << 4;
    private const byte ConfigurationMask = 0x7F;

    private const byte NonDmaMode = 1;
    private const byte Enhanced = 0x90;

    /// <summary>RECALIBRATE gives up after so many steps.</summary>
    private const int MaxSteps = 79;

    private FloppyCommand Code => (FloppyCommand)(_command[0] & CommandMask);

    private int DriveNumber => _command[1] & DriveMask;

    private byte Head => (byte)(_command[1] >> 2 & 1);

    private FloppyDrive? Selected => DriveNumber < _drives.Length ? _drives[DriveNumber] : null;

    /// <summary>Bytes of a command; 1 for those that are none.</summary>
    private static int LengthOf(byte first) => (FloppyCommand)(first & CommandMask) switch
    {
        FloppyCommand.ReadTrack or FloppyCommand.WriteData or FloppyCommand.ReadData or FloppyCommand.WriteDeletedData or FloppyCommand.ReadDeletedData
            or FloppyCommand.ScanEqual or FloppyCommand.ScanLowOrEqual or FloppyCommand.ScanHighOrEqual or FloppyCommand.Verify => 9,
        FloppyCommand.FormatTrack => 6,
        FloppyCommand.Configure => 4,
        FloppyCommand.Specify or FloppyCommand.Seek => 3,
        FloppyCommand.SenseDriveStatus or FloppyCommand.Recalibrate or FloppyCommand.ReadId or FloppyCommand.PerpendicularMode => 2,
        _ => 1,
    };

    private void Execute()
    {
        switch (Code)
        {
            case FloppyCommand.Specify:
                _stepAndUnload = _command[1];
                _loadAndMode = _command[2];
                break;
            case FloppyCommand.Configure:
                _configuration = (byte)(_command[2] & ConfigurationMask);
                _precompensation = _command[3];
                break;
            case FloppyCommand.PerpendicularMode:
                const byte overwrite = 1 << 7, drives = 0x3C, modes = 3;
                _perpendicular = (byte)((_command[1] & overwrite) != 0 ? _command[1] & (drives | modes) : _perpendicular & drives | _command[1] & modes);
                break;
            case FloppyCommand.Lock:
                _isLocked = (_command[0] & LockBit) != 0;
                _result[0] = (byte)(_isLocked ? 1 << 4 : 0);
                Respond(1);
                break;
            case FloppyCommand.Version:
                _result[0] = Enhanced;
                Respond(1);
                break;
            case FloppyCommand.DumpRegisters:
                DumpRegisters();
                break;
            case FloppyCommand.SenseDriveStatus:
                SenseDrive();
                break;
            case FloppyCommand.SenseInterruptStatus:
                SenseInterrupt();
                break;
            case FloppyCommand.Recalibrate:
                Recalibrate();
                break;
            case FloppyCommand.Seek:
                Seek();
                break;
            case FloppyCommand.ReadId:
                ReadId();
                break;
            case FloppyCommand.ReadTrack or FloppyCommand.ReadData or FloppyCommand.ReadDeletedData or FloppyCommand.WriteData or FloppyCommand.WriteDeletedData
                or FloppyCommand.Verify or FloppyCommand.ScanEqual or FloppyCommand.ScanLowOrEqual or FloppyCommand.ScanHighOrEqual:
                BeginTransfer();
                break;
            case FloppyCommand.FormatTrack:
                Format();
                break;
            default:
                _result[0] = InvalidCommand;
                Respond(1);
                break;
        }
    }

    private void DumpRegisters()
    {
        for (var i = 0; i < PolledDrives; i++)
            _result[i] = i < _drives.Length ? _drives[i].Cylinder : (byte)0;
        _result[4] = _stepAndUnload;
        _result[5] = _loadAndMode;
        _result[6] = _lastEndOfTrack;
        _result[7] = (byte)((_isLocked ? LockBit : 0) | _perpendicular);
        _result[8] = _configuration;
        _result[9] = _precompensation;
        Respond(10);
    }

    private void SenseDrive()
    {
        var drive = Selected;
        _result[0] = (byte)(AlwaysSet | _command[1] & (HeadBit | DriveMask)
            | (drive is { Cylinder: 0 } ? Track0 : 0)
            | (drive?.Medium is { ReadOnly: true } ? WriteProtected : 0));
        Respond(1);
    }

    /// <summary>Without anything to tell it is an invalid command.</summary>
    private void SenseInterrupt()
    {
        if (_unsensed == 0)
        {
            _result[0] = InvalidCommand;
            Respond(1);
            return;
        }

        var drive = System.Numerics.BitOperations.TrailingZeroCount(_unsensed);
        _unsensed &= (byte)~(1 << drive);
        _seeking &= (byte)~(1 << drive);
        _result[0] = _senseStatus[drive];
        _result[1] = drive < _drives.Length ? _drives[drive].Cylinder : (byte)0;
        Interrupt(false);
        if (_seeking != 0)
            Interrupt(true);
        Respond(2);
    }

    private void Recalibrate()
    {
        var drive = Selected;
        if (drive is null)
        {
            EndSeek(SeekEnd | AbnormalTermination | EquipmentCheck);
            return;
        }

        var isFar = drive.Cylinder > MaxSteps;
        drive.Step((byte)(isFar ? drive.Cylinder - MaxSteps : 0));
        EndSeek(isFar ? (byte)(SeekEnd | AbnormalTermination | EquipmentCheck) : SeekEnd);
    }

    private void Seek()
    {
        if (Selected is { } drive)
        {
            var cylinder = _command[2];
            if ((_command[0] & RelativeSeekBit) != 0)
                cylinder = (byte)Math.Clamp((_command[0] & SeekInwards) != 0 ? drive.Cylinder + cylinder : drive.Cylinder - cylinder, 0, byte.MaxValue);
            drive.Step(cylinder);
        }

        EndSeek((byte)(SeekEnd | Head << 2));
    }

    /// <summary>The head has arrived. There is no result: the interrupt's status is to be asked for.</summary>
    private void EndSeek(byte status)
    {
        var drive = DriveNumber;
        _senseStatus[drive] = (byte)(status | drive);
        _unsensed |= (byte)(1 << drive);
        _seeking |= (byte)(1 << drive);
        Interrupt(true);
    }

    /// <summary>The next sector that passes under the head.</summary>
    private void ReadId()
    {
        SetId(Selected?.Cylinder ?? 0, Head, 1);
        _side = Head;
        if (Check() is { } problem)
        {
            EndTransfer(problem.Status1, problem.Status2);
            return;
        }

        var drive = Selected!;
        drive.Passing = (byte)(drive.Passing % drive.Geometry!.Sectors + 1);
        SetId(drive.Cylinder, Head, drive.Passing);
        EndTransfer(0, 0);
    }
}
