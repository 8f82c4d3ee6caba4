namespace Vivarium.Devices;

/// <summary>What a PCI function says it is (PCI Local Bus Specification 3.0, 6.2.1).</summary>
/// <param name="ClassCode">Base class, subclass and programming interface: 24 bits.</param>
public readonly record struct PciIdentity(
    ushort VendorId,
    ushort DeviceId,
    byte Revision,
    uint ClassCode,
    ushort SubsystemVendorId,
    ushort SubsystemId);
