namespace Vivarium;

/// <summary>The two ways in which virtio devices can be attached (virtio 1.2, 4).</summary>
public enum VirtioTransport
{
    /// <summary>PCI functions, with MSI-X.</summary>
    Pci,

    /// <summary>Memory-mapped registers, described by ACPI.</summary>
    Mmio,
}
