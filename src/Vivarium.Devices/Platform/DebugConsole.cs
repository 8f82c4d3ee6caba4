namespace Vivarium.Devices;

/// <summary>
/// The debug console at port 0xE9, as Bochs and others have it: a byte written appears on the host; reading gives 0xE9,
/// by which a guest knows that it is there. It has no state.
/// </summary>
public sealed class DebugConsole(Action<byte> sink) : IPortDevice
{
    public const ushort Port = 0xE9;

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "debug console");

    public uint ReadPort(ushort offset, int size) => Port;

    public void WritePort(ushort offset, int size, uint value) => sink((byte)value);
}
