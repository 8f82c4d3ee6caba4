using Vivarium.Devices;

namespace Vivarium.Board;

/// <summary>Where virtio devices are plugged in: the PCI bus.</summary>
internal sealed class VirtioSlots(VirtioSpec spec, PciBus pci)
{
    public void Attach(VirtioDevice device, string name)
    {
        if (spec.Transport == VirtioTransport.Pci)
        {
            pci.Attach(new VirtioPciTransport(device, name).Function);
        }
    }
}
