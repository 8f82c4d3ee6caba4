using Vivarium.Devices;
using Vivarium.Firmware;

namespace Vivarium.Board;

/// <summary>Where virtio devices are plugged in: the PCI bus, or register windows that ACPI tells of.</summary>
internal sealed class VirtioSlots(VirtioSpec spec, PciBus pci, MmioBus mmio, InterruptRouter interrupts)
{
    private int _windows;

    /// <summary>The device's number on the PCI bus; null if it is not there.</summary>
    public int? Attach(VirtioDevice device, string name)
    {
        if (!spec.PackedRings)
        {
            device.Withhold(VirtioFeatures.RingPacked);
        }

        if (spec.Transport == VirtioTransport.Pci)
        {
            return pci.Attach(new VirtioPciTransport(device, name).Function);
        }

        int window = _windows++;
        InterruptLine line = interrupts.CreateIoApicLine(PlatformLayout.VirtioMmioGsi(window));
        new VirtioMmioTransport(device, line).Map(mmio, PlatformLayout.VirtioMmioAddress(window), name);
        return null;
    }
}
