using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A Serial ATA controller as the 82801I (ICH9) has it, in AHCI mode (Serial ATA AHCI 1.3): six ports of 32 commands each,
/// native command queuing, one interrupt by wire or by message.
/// </summary>
public sealed class AhciController : DwordRegisters, IDisposable
{
    public const int Ports = 6;

    private const int Bar = 5;
    private const ulong BarSize = 0x800;
    private const int FirstPort = 0x100;
    private const int PortLength = 0x80;

    // Generic host control (3.1).
    private const int CapabilitiesRegister = 0x00;
    private const int GlobalControl = 0x04;
    private const int InterruptStatus = 0x08;
    private const int PortsImplemented = 0x0C;
    private const int VersionRegister = 0x10;

    private const uint ResetBit = 1 << 0;
    private const uint InterruptEnable = 1 << 1;
    private const uint AhciEnable = 1u << 31;
    private const uint Version13 = 0x0001_0300;

    /// <summary>64-bit addresses, queuing, list override, 3 Gbit/s, nothing but AHCI, 32 slots.</summary>
    private const uint Capabilities = 1u << 31 | 1 << 30 | 1 << 24 | 2 << 20 | 1 << 18 | (AhciPort.Slots - 1) << 8 | Ports - 1;

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x8086, DeviceId: 0x2922, Revision: 0x02, ClassCode: 0x01_06_01, SubsystemVendorId: 0, SubsystemId: 0);

    /// <summary>Taken by the ports, which hold their own lock.</summary>
    private readonly Lock _lock = new();
    private readonly AhciPort[] _ports = new AhciPort[Ports];
    private readonly bool[] _asking = new bool[Ports];
    private uint _control = AhciEnable;
    private uint _interrupts;

    /// <param name="memory">The guest's memory.</param>
    /// <param name="devices">What is connected to port 0 and those that follow; null or nothing where nothing is.</param>
    public AhciController(GuestMemory memory, params ReadOnlySpan<AtaDevice?> devices)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(devices.Length, Ports);
        Function = new PciFunction("AHCI", s_identity);
        Function.AddMemoryBar(Bar, BarSize, this);
        Function.AddMsi();
        for (var i = 0; i < Ports; i++)
            _ports[i] = new AhciPort(memory, this, i, i < devices.Length ? devices[i] : null);
        Function.BusMasterChanged = enabled =>
        {
            if (!enabled)
                return;
            foreach (var port in _ports)
                port.BusMasterEnabled();
        };
    }

    public PciFunction Function { get; }

    internal bool CanTransfer => Function.IsBusMaster;

    public AhciState Save()
    {
        var ports = Array.ConvertAll(_ports, port => port.Save());
        lock (_lock)
            return new() { Function = Function.Save(), Control = _control, Interrupts = _interrupts, Ports = ports };
    }

    public void Restore(AhciState state)
    {
        StateFormat.Require(state is { Version: AhciState.CurrentVersion, Function: not null, Ports.Length: Ports }, "AHCI controller");
        _control = state.Control & InterruptEnable | AhciEnable;
        for (var i = 0; i < Ports; i++)
            _ports[i].Restore(state.Ports[i]);
        lock (_lock)
            _interrupts = state.Interrupts & (1u << Ports) - 1;

        // Last, as it may let transfers go on.
        Function.Restore(state.Function!);
        DriveLine();
    }

    /// <summary>Returns when nothing touches guest memory or disks any more; the guest has stopped before.</summary>
    public void Dispose()
    {
        foreach (var port in _ports)
            port.Quiesce();
    }

    /// <summary>A port wants to interrupt, or no more; or it has one more reason to.</summary>
    internal void PortChanged(int port, bool asks, bool isNew)
    {
        bool signals;
        lock (_lock)
        {
            _asking[port] = asks;
            if (asks)
                _interrupts |= 1u << port;
            signals = isNew && asks && (_control & InterruptEnable) != 0;
        }

        if (signals)
            Function.Msi!.Signal();
        DriveLine();
    }

    private protected override uint ReadRegister(int register)
    {
        if (register >= FirstPort)
            return register < FirstPort + Ports * PortLength ? _ports[(register - FirstPort) / PortLength].Read((register - FirstPort) % PortLength) : 0;
        lock (_lock)
        {
            return register switch
            {
                CapabilitiesRegister => Capabilities,
                GlobalControl => _control,
                InterruptStatus => _interrupts,
                PortsImplemented => (1u << Ports) - 1,
                VersionRegister => Version13,
                _ => 0,
            };
        }
    }

    private protected override void WriteRegister(int register, uint value)
    {
        if (register >= FirstPort)
        {
            if (register < FirstPort + Ports * PortLength)
                _ports[(register - FirstPort) / PortLength].Write((register - FirstPort) % PortLength, value);
            return;
        }

        switch (register)
        {
            case GlobalControl:
                WriteControl(value);
                break;
            case InterruptStatus:
                Acknowledge(value);
                break;
        }
    }

    private void WriteControl(uint value)
    {
        lock (_lock)
            _control = value & InterruptEnable | AhciEnable;
        if ((value & ResetBit) != 0)
        {
            foreach (var port in _ports)
                port.Reset();
            lock (_lock)
            {
                _control = AhciEnable;
                _interrupts = 0;
            }
        }

        DriveLine();
    }

    private void Acknowledge(uint value)
    {
        bool signals;
        lock (_lock)
        {
            _interrupts &= ~value;
            for (var i = 0; i < Ports; i++)
                _interrupts |= _asking[i] ? 1u << i : 0;

            // What is left asks again (10.6.2.1).
            signals = _interrupts != 0 && (_control & InterruptEnable) != 0;
        }

        if (signals)
            Function.Msi!.Signal();
        DriveLine();
    }

    private void DriveLine()
    {
        lock (_lock)
            Function.SetInterrupt(_interrupts != 0 && (_control & InterruptEnable) != 0);
    }
}
