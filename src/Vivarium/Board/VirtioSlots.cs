using Vivarium.Devices;
using Vivarium.Firmware;

namespace Vivarium.Board;

/// <summary>Where virtio devices are plugged in: the PCI bus, or register windows that ACPI tells of.</summary>
internal sealed class VirtioSlots(VirtioSpec spec, PciBus pci, MmioBus mmio, InterruptRouter interrupts)
{
    private int _windows;

    public void Attach(VirtioDevice device, string name)
    {
        if (!spec.PackedRings)
        {
            device.Withhold(VirtioFeatures.RingPacked);
        }

        if (spec.Transport == VirtioTransport.Pci)
        {
            pci.Attach(new VirtioPciTransport(device, name).Function);
        }
        else
        {
            int window = _windows++;
            InterruptLine line = interrupts.CreateIoApicLine(PlatformLayout.VirtioMmioGsi(window));
            new VirtioMmioTransport(device, line).Map(mmio, PlatformLayout.VirtioMmioAddress(window), name);
        }
    }
}
