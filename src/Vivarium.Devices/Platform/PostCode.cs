namespace Vivarium.Devices;

/// <summary>The POST code display at port 0x80, which systems also write to as a short delay. Reading gives the last code.</summary>
public sealed class PostCode : IPortDevice
{
    public const ushort Port = 0x80;

    private byte _last;

    /// <summary>The last code written.</summary>
    public byte Last => Volatile.Read(ref _last);

    public void Map(PortBus ports) => ports.Map(Port, 1, this, "POST code");

    public uint ReadPort(ushort offset, int size) => _last;

    public void WritePort(ushort offset, int size, uint value) => Volatile.Write(ref _last, (byte)value);

    public PostCodeState Save() => new() { Last = Last };

    public void Restore(PostCodeState state)
    {
        StateFormat.Require(state.Version == PostCodeState.CurrentVersion, "POST code display");
        Volatile.Write(ref _last, state.Last);
    }
}
