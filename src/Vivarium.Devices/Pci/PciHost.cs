namespace Vivarium.Devices;

/// <summary>
/// PCI configuration access mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2) with one bus: CONFIG_ADDRESS at
/// 0xCF8, CONFIG_DATA at 0xCFC-0xCFF. Device 0 is the host bridge; empty places read as all ones.
/// </summary>
public sealed class PciHost : IPortDevice
{
    public const ushort Port = 0xCF8;

    private const int Ports = 8;
    private const ushort AddressOffset = 0;
    private const ushort ResetOffset = ResetControl.Port - Port;
    private const ushort DataOffset = 4;

    // CONFIG_ADDRESS.
    private const uint EnableConfiguration = 1u << 31;
    private const uint AddressWritable = 0x80FF_FFFC;
    private const int BusShift = 16;
    private const int FunctionShift = 8;

    private const int Devices = 32;
    private const int Functions = 8;

    private readonly ResetControl _reset;
    private readonly HostBridge _bridge;
    private readonly IPciFunction?[] _functions = new IPciFunction?[Devices * Functions];
    private uint _address;

    /// <param name="bridge">Device 0; null for one in front of memory that is RAM throughout.</param>
    public PciHost(ResetControl reset, HostBridge? bridge = null)
    {
        _reset = reset;
        _bridge = bridge ?? new HostBridge();
        Attach(0, 0, _bridge);
    }

    public void Map(PortBus ports) => ports.Map(Port, Ports, this, "PCI configuration");

    /// <summary>Puts a function into its place on bus 0.</summary>
    public void Attach(int device, int function, IPciFunction configuration)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(device);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(device, Devices);
        ArgumentOutOfRangeException.ThrowIfNegative(function);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(function, Functions);
        if (Interlocked.CompareExchange(ref _functions[device * Functions + function], configuration, null) is not null)
            throw new InvalidOperationException($"PCI device {device:X2}.{function} is there already.");
    }

    public uint ReadPort(ushort offset, int size)
    {
        if (offset == AddressOffset && size == 4)
            return Volatile.Read(ref _address);
        if (offset == ResetOffset && size == 1)
            return _reset.Value;
        return offset >= DataOffset && Selected(out var register) is { } function
            ? function.ReadConfig(register + offset - DataOffset, size)
            : uint.MaxValue;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        if (offset == AddressOffset && size == 4)
            Volatile.Write(ref _address, value & AddressWritable);
        else if (offset == ResetOffset && size == 1)
            _reset.Value = (byte)value;
        else if (offset >= DataOffset && Selected(out var register) is { } function)
            function.WriteConfig(register + offset - DataOffset, size, value);
    }

    public PciHostState Save() => new()
    {
        ConfigAddress = Volatile.Read(ref _address),
        ResetControl = _reset.Value,
        HostBridge = _bridge.Save(),
    };

    public void Restore(PciHostState state)
    {
        StateFormat.Require(state.Version == PciHostState.CurrentVersion && state.HostBridge is { Length: HostBridge.ConfigSize }, "PCI host");
        Volatile.Write(ref _address, state.ConfigAddress & AddressWritable);
        _reset.Restore(state.ResetControl);
        _bridge.Restore(state.HostBridge);
    }

    private IPciFunction? Selected(out int register)
    {
        var address = Volatile.Read(ref _address);
        register = (int)(address & 0xFC);
        if ((address & EnableConfiguration) == 0 || ((address >> BusShift) & 0xFF) != 0)
            return null;
        return Volatile.Read(ref _functions[(address >> FunctionShift) & (Devices * Functions - 1)]);
    }
}
