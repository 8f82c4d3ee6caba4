namespace Vivarium.Devices;

/// <summary>
/// System control port A at 0x92 (IBM PS/2 technical reference): fast A20 and fast reset. A20 is remembered and always
/// open: no supported system depends on addresses that wrap at 1 MB.
/// </summary>
public sealed class SystemControlPort : IPortDevice
{
    public const ushort Port = 0x92;

    private const byte FastReset = 1 << 0;
    private const byte FastA20 = 1 << 1;

    private byte _value = FastA20;

    /// <summary>The guest resets the machine. Called on the vCPU's thread without any lock.</summary>
    public Action? ResetRequested { get; set; }

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "system control port A");

    public uint ReadPort(ushort offset, int size) => Volatile.Read(ref _value);

    public void WritePort(ushort offset, int size, uint value)
    {
        // The reset comes when the bit rises; it is not kept, because the machine starts anew.
        Volatile.Write(ref _value, (byte)(value & ~(uint)FastReset));
        if ((value & FastReset) != 0)
            ResetRequested?.Invoke();
    }

    public SystemControlPortState Save() => new() { Value = Volatile.Read(ref _value) };

    public void Restore(SystemControlPortState state)
    {
        StateFormat.Require(state.Version == SystemControlPortState.CurrentVersion, "system control port");
        Volatile.Write(ref _value, (byte)(state.Value & ~FastReset));
    }
}
