namespace Vivarium.Devices;

/// <summary>The debug-exit device at port 0xF4: the guest ends its machine with a number. It has no state.</summary>
public sealed class DebugExit : IPortDevice
{
    public const ushort Port = 0xF4;

    private const int Ports = 4;

    /// <summary>The value that was written. Called on the vCPU's thread without any lock.</summary>
    public Action<uint>? ExitRequested { get; set; }

    public void Map(PortBus ports) => ports.Map(Port, Ports, this, "debug exit");

    public uint ReadPort(ushort offset, int size) => 0;

    public void WritePort(ushort offset, int size, uint value) => ExitRequested?.Invoke(value);
}
