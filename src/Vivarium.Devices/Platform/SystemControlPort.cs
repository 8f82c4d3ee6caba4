namespace Vivarium.Devices;

/// <summary>
/// System control port A at 0x92 (IBM PS/2 technical reference): fast A20 and fast reset.
/// </summary>
public sealed class SystemControlPort(A20Gate a20) : IPortDevice
{
    public const ushort Port = 0x92;

    private const byte FastReset = 1 << 0;
    private const byte FastA20 = 1 << 1;

    private byte _value;

    /// <summary>The guest resets the machine. Called on the vCPU's thread without any lock.</summary>
    public Action? ResetRequested { get; set; }

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "system control port A");

    public uint ReadPort(ushort offset, int size) => (uint)(Volatile.Read(ref _value) | (a20.IsOpen ? FastA20 : 0));

    public void WritePort(ushort offset, int size, uint value)
    {
        // The reset comes when the bit rises; it is not kept, because the machine starts anew.
        Volatile.Write(ref _value, (byte)(value & ~(uint)(FastReset | FastA20)));
        a20.IsOpen = (value & FastA20) != 0;
        if ((value & FastReset) != 0)
            ResetRequested?.Invoke();
    }

    public SystemControlPortState Save() => new() { Value = (byte)ReadPort(0, 1) };

    public void Restore(SystemControlPortState state)
    {
        StateFormat.Require(state.Version == SystemControlPortState.CurrentVersion, "system control port");
        Volatile.Write(ref _value, (byte)(state.Value & ~(FastReset | FastA20)));
        a20.IsOpen = (state.Value & FastA20) != 0;
    }
}
