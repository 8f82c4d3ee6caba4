using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Memory;

namespace Vivarium.Board;

/// <summary>What is connected to the ports of the Serial ATA controller: disks in their order, then CD drives.</summary>
internal static class SataPorts
{
    public static AtaDevice[] Fill(GuestMemory memory, MachineParts parts)
    {
        IEnumerable<AtaDevice> disks = parts.Disks.Where(disk => disk.Bus == DiskBus.Ahci).Select((disk, index) =>
            new AtaDisk(memory, disk.Backend, disk.Spec.Serial ?? $"SD{index + 1:D8}", isSerialAta: true) { Failed = problem => parts.Warn($"disk '{disk.Spec.Path}': {problem}") });
        IEnumerable<AtaDevice> drives = parts.CdDrives.Where(drive => drive.Bus == DiskBus.Ahci).Select((drive, index) => IdePlaces.MakeCdDrive(memory, parts, drive, index + 1));
        return [.. disks, .. drives];
    }

    /// <param name="device">The controller's place on the PCI bus.</param>
    public static void Name(MachineParts parts, BootPaths boot, int device)
    {
        int port = 0;
        foreach (MachineDisk disk in parts.Disks.Where(disk => disk.Bus == DiskBus.Ahci))
        {
            boot.AddSata(disk, device, port++);
        }

        foreach (MachineDrive drive in parts.CdDrives.Where(drive => drive.Bus == DiskBus.Ahci))
        {
            boot.AddSata(drive, device, port++);
        }
    }
}
