namespace Vivarium.Devices;

/// <summary>
/// Function 0 of the 82371AB (PIIX4 data sheet, 4.1): the ISA bridge, which says that the device has more functions. What
/// is on its bus stands at fixed ports; its interrupt routing registers are kept and have no effect.
/// </summary>
public static class PiixIsaBridge
{
    /// <summary>Where the board has the device, and where the DSDT says that it is.</summary>
    public const int Device = 1;

    // PIRQRC: no interrupt is routed.
    private const int RoutingRegisters = 0x60;
    private const byte RoutingDisabled = 1 << 7;

    private static readonly PciIdentity s_identity = new(
        VendorId: 0x8086, DeviceId: 0x7110, Revision: 0x02, ClassCode: 0x06_01_00, SubsystemVendorId: 0, SubsystemId: 0);

    public static PciFunction Create()
    {
        var function = new PciFunction("PIIX4 ISA bridge", s_identity, hasInterrupt: false, isMultiFunction: true);
        function.AddRegisters(
            RoutingRegisters,
            [RoutingDisabled, RoutingDisabled, RoutingDisabled, RoutingDisabled],
            [0x8F, 0x8F, 0x8F, 0x8F]);
        return function;
    }
}
