namespace Vivarium.Devices;

/// <summary>
/// A PC's first parallel port (IBM PC/AT Technical Reference, "Printer Adapter"), with a printer at its end that is out of paper: guests
/// find LPT1, and what they print fails at once instead of waiting. It never interrupts.
/// </summary>
public sealed class ParallelPort : IPortDevice
{
    public const ushort Port = 0x378;

    private const int Ports = 3;
    private const int DataRegister = 0;
    private const int StatusRegister = 1;
    private const int ControlRegister = 2;

    // Status: signals of the printer; busy and error are low when they are so.
    private const byte NotBusy = 1 << 7;
    private const byte NotAcknowledging = 1 << 6;
    private const byte OutOfPaper = 1 << 5;

    /// <summary>Nothing drives these bits. A low one would tell of an EPP port, whose time-out it is.</summary>
    private const byte Unused = 0x07;
    private const byte Status = NotBusy | NotAcknowledging | OutOfPaper | Unused;

    // Control: strobe, line feed, initialise, select, interrupt enable; no bit makes the data lines inputs.
    private const byte ControlWritable = 0x1F;
    private const byte ControlUnused = 0xE0;
    private const byte NotInitializing = 1 << 2;
    private const byte Selected = 1 << 3;

    private byte _data;
    private byte _control = NotInitializing | Selected;

    public void Map(PortBus ports) => ports.Map(Port, Ports, this, "LPT1");

    public uint ReadPort(ushort offset, int size)
    {
        uint value = 0;
        for (var i = 0; i < size; i++)
            value |= (uint)ReadByte(offset + i) << 8 * i;
        return value;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        for (var i = 0; i < size; i++)
        {
            if (offset + i == DataRegister)
                Volatile.Write(ref _data, (byte)(value >> 8 * i));
            else if (offset + i == ControlRegister)
                Volatile.Write(ref _control, (byte)(value >> 8 * i & ControlWritable));
        }
    }

    public ParallelPortState Save() => new() { Data = Volatile.Read(ref _data), Control = Volatile.Read(ref _control) };

    public void Restore(ParallelPortState state)
    {
        StateFormat.Require(state.Version == ParallelPortState.CurrentVersion, "parallel port");
        Volatile.Write(ref _data, state.Data);
        Volatile.Write(ref _control, (byte)(state.Control & ControlWritable));
    }

    private byte ReadByte(int register) => register switch
    {
        DataRegister => Volatile.Read(ref _data),
        StatusRegister => Status,
        _ => (byte)(Volatile.Read(ref _control) | ControlUnused),
    };
}
