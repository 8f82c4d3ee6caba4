using Vivarium.Devices;
using Vivarium.Firmware;

namespace Vivarium.Board;

/// <summary>Where virtio devices are plugged in: the PCI bus, or register windows that ACPI tells of.</summary>
internal sealed class VirtioSlots(VirtioSpec spec, PciBus pci, MmioBus mmio, InterruptRouter interrupts)
{
    private int _windows;

    /// <summary>The device's number on the PCI bus; null if it is not there.</summary>
    /// <param name="addRom">Gives the device on the PCI bus a ROM; null for none.</param>
    public int? Attach(VirtioDevice device, string name, Action<PciFunction>? addRom = null)
    {
        if (!spec.PackedRings)
        {
            device.Withhold(VirtioFeatures.RingPacked);
        }

        if (spec.Transport == VirtioTransport.Pci)
        {
            PciFunction function = new VirtioPciTransport(device, name).Function;
            addRom?.Invoke(function);
            return pci.Attach(function);
        }

        int window = _windows++;
        InterruptLine line = interrupts.CreateIoApicLine(PlatformLayout.VirtioMmioGsi(window));
        new VirtioMmioTransport(device, line).Map(mmio, PlatformLayout.VirtioMmioAddress(window), name);
        return null;
    }
}
