namespace Vivarium.Devices;

/// <summary>
/// The port that SeaBIOS and OVMF write their messages to: 0x402. Reading gives 0xE9, by which they know that somebody listens. It
/// has no state.
/// </summary>
public sealed class FirmwareLog(Action<byte> sink) : IPortDevice
{
    public const ushort Port = 0x402;

    private const byte Present = 0xE9;

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "firmware log");

    public uint ReadPort(ushort offset, int size) => Present;

    public void WritePort(ushort offset, int size, uint value) => sink((byte)value);
}
