using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The IDE function of the 82371AB (PIIX4 data sheet, 4 and 5): two channels at the ports where PCs have them, and bus
/// masters at base address register 4. The timing registers are kept and have no effect; the ports answer whether or not
/// they are switched on there.
/// </summary>
public sealed class PiixIde : IPortDevice, IDisposable
{
    /// <summary>The function's number; function 0 of the same device is <see cref="PiixIsaBridge"/>.</summary>
    public const int FunctionNumber = 1;

    /// <summary>Two channels of two devices.</summary>
    public const int MaxDevices = 4;

    public const ushort PrimaryCommand = 0x1F0;
    public const ushort PrimaryControl = 0x3F6;
    public const int PrimaryIrq = 14;
    public const ushort SecondaryCommand = 0x170;
    public const ushort SecondaryControl = 0x376;
    public const int SecondaryIrq = 15;

    private const int MasterBar = 4;
    private const int Channels = 2;
    private const int DevicesPerChannel = 2;

    // IDETIM, one word for each channel: firmware switches on those that have devices. UDMACTL and UDMATIM follow.
    private const int TimingRegisters = 0x40;
    private const int TimingLength = 12;
    private const byte DecodeEnable = 1 << 7;

    /// <summary>SIDETIM, UDMACTL and its neighbours, UDMATIM; bits that exist.</summary>
    private static ReadOnlySpan<byte> TimingWritable => [0xFF, 0xF3, 0xFF, 0xF3, 0xFF, 0, 0, 0, 0x0F, 0, 0x33, 0x33];

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x8086, DeviceId: 0x7111, Revision: 0x01, ClassCode: 0x01_01_80, SubsystemVendorId: 0, SubsystemId: 0);

    private readonly AtaChannel[] _channels;

    /// <param name="devices">Primary master and slave, secondary master and slave; null or nothing where there is none.</param>
    public PiixIde(GuestMemory memory, InterruptRouter interrupts, params ReadOnlySpan<AtaDevice?> devices)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(devices.Length, MaxDevices);
        Span<AtaDevice?> places = new AtaDevice?[MaxDevices];
        devices.CopyTo(places);
        Function = new PciFunction("PIIX4 IDE", s_identity, hasInterrupt: false);
        Function.AddPortBar(MasterBar, Channels * BusMaster.Ports, this);
        Span<byte> timing = stackalloc byte[TimingLength];
        timing.Clear();
        _channels = new AtaChannel[Channels];
        for (var i = 0; i < Channels; i++)
        {
            var first = places[i * DevicesPerChannel];
            var second = places[i * DevicesPerChannel + 1];
            _channels[i] = new AtaChannel(memory, Function, interrupts.CreateIsaLine(i == 0 ? PrimaryIrq : SecondaryIrq), first, second);
            if (first is not null || second is not null)
                timing[i * sizeof(ushort) + 1] = DecodeEnable;
        }

        Function.AddRegisters(TimingRegisters, timing, TimingWritable);
        Function.BusMasterChanged = enabled =>
        {
            if (!enabled)
                return;
            foreach (var channel in _channels)
                channel.BusMasterEnabled();
        };
    }

    public PciFunction Function { get; }

    public void Map(PortBus ports)
    {
        Map(ports, _channels[0], PrimaryCommand, PrimaryControl);
        Map(ports, _channels[1], SecondaryCommand, SecondaryControl);
    }

    public uint ReadPort(ushort offset, int size)
    {
        var register = offset % BusMaster.Ports;
        return register + size <= BusMaster.Ports ? _channels[offset / BusMaster.Ports].ReadMaster(register, size) : uint.MaxValue;
    }

    public void WritePort(ushort offset, int size, uint value)
    {
        var register = offset % BusMaster.Ports;
        if (register + size <= BusMaster.Ports)
            _channels[offset / BusMaster.Ports].WriteMaster(register, size, value);
    }

    public PiixIdeState Save() => new() { Function = Function.Save(), Channels = [.. _channels.Select(channel => channel.Save())] };

    public void Restore(PiixIdeState state)
    {
        StateFormat.Require(state is { Version: PiixIdeState.CurrentVersion, Function: not null, Channels.Length: Channels }, "IDE controller");
        for (var i = 0; i < Channels; i++)
            _channels[i].Restore(state.Channels[i]);

        // Last, as it may let transfers go on.
        Function.Restore(state.Function!);
    }

    /// <summary>Returns when nothing touches guest memory or disks any more; the guest has stopped before.</summary>
    public void Dispose()
    {
        foreach (var channel in _channels)
            channel.Quiesce();
    }

    private static void Map(PortBus ports, AtaChannel channel, ushort command, ushort control)
    {
        ports.Map(command, AtaChannel.CommandPorts, channel, "IDE");
        ports.Map(control, AtaChannel.ControlPorts, channel, "IDE", AtaChannel.ControlOffset);
    }
}
