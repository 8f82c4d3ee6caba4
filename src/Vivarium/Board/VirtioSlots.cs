using Vivarium.Devices;
using Vivarium.Firmware;

namespace Vivarium.Board;

/// <summary>Where virtio devices are plugged in: the PCI bus, or register windows that ACPI tells of.</summary>
internal sealed class VirtioSlots(VirtioSpec spec, PciBus pci, MmioBus mmio, InterruptRouter interrupts)
{
    private int _windows;

    /// <param name="addRom">Gives the device on the PCI bus a ROM; null for none.</param>
    public void Attach(VirtioDevice device, string name, Action<PciFunction>? addRom = null)
    {
        if (!spec.PackedRings)
        {
            device.Withhold(VirtioFeatures.RingPacked);
        }

        if (spec.Transport == VirtioTransport.Pci)
        {
            PciFunction function = new VirtioPciTransport(device, name).Function;
            addRom?.Invoke(function);
            _ = pci.Attach(function);
        }
        else
        {
            int window = _windows++;
            InterruptLine line = interrupts.CreateIoApicLine(PlatformLayout.VirtioMmioGsi(window));
            new VirtioMmioTransport(device, line).Map(mmio, PlatformLayout.VirtioMmioAddress(window), name);
        }
    }
}
