namespace Vivarium.Devices;

/// <summary>
/// Function 0 of the 82371AB (PIIX4 data sheet, 290562, 4.1): the ISA bridge, which says that the device has more functions and
/// leads the four PCI interrupts to the 8259s. What is on its bus stands at fixed ports.
/// </summary>
public static class PiixIsaBridge
{
    /// <summary>Where the board has the device, and where the DSDT says that it is.</summary>
    public const int Device = 1;

    // PIRQRC.
    private const int RoutingRegisters = 0x60;
    private const int PciInterrupts = 4;
    private const byte RoutingDisabled = 1 << 7;
    private const byte RoutingIrq = 0x0F;

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x8086, DeviceId: 0x7110, Revision: 0x02, ClassCode: 0x06_01_00, SubsystemVendorId: 0, SubsystemId: 0);

    /// <param name="interrupts">What the routing registers lead.</param>
    /// <param name="routed">The interrupts are routed already, as firmware does it; else none is.</param>
    public static PciFunction Create(InterruptRouter interrupts, bool routed)
    {
        var function = new PciFunction("PIIX4 ISA bridge", s_identity, hasInterrupt: false, isMultiFunction: true);
        Span<byte> initial = stackalloc byte[PciInterrupts];
        for (var line = 0; line < PciInterrupts; line++)
            initial[line] = routed ? (byte)InterruptRouter.PciIrq(line) : RoutingDisabled;
        function.AddRegisters(RoutingRegisters, initial, [0x8F, 0x8F, 0x8F, 0x8F], changed => Route(changed, interrupts));
        Route(function, interrupts);
        return function;
    }

    private static void Route(PciFunction function, InterruptRouter interrupts)
    {
        for (var line = 0; line < PciInterrupts; line++)
        {
            var register = function.ReadConfig(RoutingRegisters + line, 1);
            interrupts.RoutePci(line, (register & RoutingDisabled) == 0 ? (int)(register & RoutingIrq) : null);
        }
    }
}
