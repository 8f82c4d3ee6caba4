namespace Vivarium.Devices;

/// <summary>
/// Frame information structures (Serial ATA 3.0, 10.3; AHCI 1.3, 4.2.1): their types, where the HBA puts those that it
/// receives, and how the registers stand in them.
/// </summary>
internal static class Fis
{
    public const byte RegisterToDevice = 0x27;
    public const byte RegisterToHost = 0x34;
    public const byte PioSetup = 0x5F;
    public const byte SetDeviceBits = 0xA1;

    /// <summary>A command's length in bytes.</summary>
    public const int CommandLength = 20;
    public const int RegisterLength = 20;
    public const int SetDeviceBitsLength = 8;

    // Where they are received.
    public const ulong PioSetupOffset = 0x20;
    public const ulong RegisterOffset = 0x40;
    public const ulong SetDeviceBitsOffset = 0x58;

    // Byte 1.
    public const byte CommandBit = 1 << 7;
    public const byte InterruptBit = 1 << 6;
    public const byte ToHostBit = 1 << 5;

    // Fields of a command.
    public const int Command = 2;
    public const int Features = 3;
    public const int Control = 15;

    /// <summary>The registers of the command block in a frame: where each stands, and where what 48-bit commands write to it first.</summary>
    public static ReadOnlySpan<(int Register, int Field, int PreviousField)> Registers => s_registers;

    private static readonly (int, int, int)[] s_registers =
    [
        (AtaRegisters.LbaLow, 4, 8),
        (AtaRegisters.LbaMid, 5, 9),
        (AtaRegisters.LbaHigh, 6, 10),
        (AtaRegisters.Count, 12, 13),
    ];

    private const int DeviceField = 7;
    private const int PreviousFeatures = 11;

    /// <summary>Writes all registers of a device but Command from a frame.</summary>
    public static void Load(AtaDevice device, ReadOnlySpan<byte> command)
    {
        device.WriteRegister(AtaRegisters.ErrorOrFeatures, command[PreviousFeatures]);
        device.WriteRegister(AtaRegisters.ErrorOrFeatures, command[Features]);
        foreach (var (register, field, previous) in Registers)
        {
            device.WriteRegister(register, command[previous]);
            device.WriteRegister(register, command[field]);
        }

        device.WriteRegister(AtaRegisters.Device, command[DeviceField]);
    }

    /// <summary>Fills a frame of <see cref="RegisterLength"/> bytes with a device's registers.</summary>
    public static void Fill(Span<byte> frame, byte type, byte flags, AtaDevice device)
    {
        frame.Clear();
        frame[0] = type;
        frame[1] = flags;
        frame[2] = (byte)device.Status;
        frame[3] = (byte)device.Error;
        foreach (var (register, field, previous) in Registers)
        {
            frame[field] = device.Peek(register, previous: false);
            frame[previous] = device.Peek(register, previous: true);
        }

        frame[DeviceField] = device.Peek(AtaRegisters.Device, previous: false);
    }
}
