namespace Vivarium.Devices.Tests;

/// <summary>The ISA bridge's interrupt routing and where the power management function puts its ports, as firmware sets them.</summary>
public sealed class PiixTests : IDisposable
{
    private const int Routing = 0x60;
    private const int PmBase = 0x40;
    private const int PmRegMisc = 0x80;

    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_pci_interrupt_arrives_where_it_is_routed_also_while_it_is_asserted()
    {
        var bridge = PiixIsaBridge.Create(_machine.Board.Interrupts, routed: false);
        var card = new PciFunction("card", new PciIdentity(1, 2, 3, 4, 5, 6));
        var device = _machine.Pci.Attach(card);
        var line = (device + 3) % 4;
        card.SetInterrupt(true);
        Assert.Equal(0, Requests());
        bridge.WriteConfig(Routing + line, 1, 5);
        Assert.Equal(1 << 5, Requests());
        bridge.WriteConfig(Routing + line, 1, 11);
        Assert.Equal(1 << 11, Requests() & (1 << 11));
        bridge.WriteConfig(Routing + line, 1, 0x80);
        card.SetInterrupt(false);
        bridge.WriteConfig(Routing + line, 1, 9);
        Assert.Equal(0, Requests() & (1 << 9));
    }

    [Fact]
    public void The_power_management_ports_move()
    {
        var ports = new PortBus();
        var clock = new MachineClock();
        var function = new Piix4Pm(ports, new AcpiPm(clock, _machine.Board.Interrupts.CreateIsaLine(AcpiPm.SciIrq)));
        Assert.Null(function.Base);
        function.Configure(0x600);
        Assert.Equal((ushort?)0x600, function.Base);
        Assert.Equal(1u, ports.Read(0x604, 2) & 1);
        function.Function.WriteConfig(PmBase, 4, 0xB001);
        Assert.Equal((ushort?)0xB000, function.Base);
        Assert.Equal(0xFFFFu, ports.Read(0x604, 2));
        Assert.Equal(1u, ports.Read(0xB004, 2) & 1);
        function.Function.WriteConfig(PmRegMisc, 1, 0);
        Assert.Null(function.Base);
    }

    /// <summary>The requests of both 8259s (OCW3: read IRR).</summary>
    private int Requests()
    {
        _machine.Board.Out(0x20, 0x0A);
        _machine.Board.Out(0xA0, 0x0A);
        return (int)(_machine.Board.In(0x20) | (_machine.Board.In(0xA0) << 8)) & ~(1 << 2);
    }
}
