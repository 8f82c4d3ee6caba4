using Vivarium.Networks;

namespace Vivarium.Board;

/// <summary>
/// Where the devices are that firmware may boot from, by the paths of Open Firmware (IEEE 1275-1994, 3.2.1.1; its PCI binding) in which
/// the file <c>bootorder</c> of the firmware configuration device names them. SeaBIOS matches these against what it has found;
/// OVMF (QemuBootOrderLib) translates them to UEFI device paths.
/// </summary>
internal sealed class BootPaths
{
    private readonly Dictionary<object, string> _paths = new(ReferenceEqualityComparer.Instance);

    /// <param name="place">0 to 3: primary master and slave, secondary master and slave.</param>
    public void AddIde(object part, int device, int function, int place) =>
        _paths.Add(part, $"{Pci("ide", device, function)}/drive@{place >> 1:x}/disk@{place & 1:x}");

    /// <summary>OVMF tells the ports of a Serial ATA controller apart only where it goes by this name, that of an ICH9's.</summary>
    public void AddSata(object part, int device, int port) => _paths.Add(part, $"{Pci("pci8086,2922", device)}/drive@{port:x}/disk@0");

    /// <summary>
    /// A function that is one disk. The name is none that OVMF knows: those make it look for a partition (virtio) or for the identifier
    /// of one namespace (NVMe) on it, and this path stands for whatever is behind the function.
    /// </summary>
    public void AddDisk(object part, int device) => _paths.Add(part, Pci("disk", device));

    public void AddFloppy(object part, int unit) => _paths.Add(part, $"{Pci("isa", Devices.PiixIsaBridge.Device)}/fdc@03f0/floppy@{unit:x}");

    public void AddNetwork(MachineNetwork network, int device) => _paths.Add(network, Pci("ethernet", device));

    /// <summary>The paths of what can be booted from, the first to try first: kinds as the user orders them, and of one kind as the user names them.</summary>
    public IReadOnlyList<string> InOrder(MachineParts parts) =>
        [.. parts.BootOrder.SelectMany(kind => OfKind(parts, kind)).Select(part => _paths.GetValueOrDefault(part)).OfType<string>()];

    private static IEnumerable<object> OfKind(MachineParts parts, BootDevice kind) => kind switch
    {
        BootDevice.Floppy => parts.FloppyDrives,
        BootDevice.Disk => parts.Disks,
        BootDevice.Cd => parts.CdDrives,
        BootDevice.Network => parts.Networks,
        _ => [],
    };

    private static string Pci(string name, int device, int function = 0) => $"/pci@i0cf8/{name}@{device:x}{(function == 0 ? "" : $",{function:x}")}";
}
