using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Memory;

namespace Vivarium.Board;

/// <summary>
/// What is where on the two IDE channels: disks in their order from the primary master on; CD drives from the secondary
/// master on, where systems of old look for them, and then in what is free.
/// </summary>
internal static class IdePlaces
{
    private static ReadOnlySpan<int> CdOrder => [2, 3, 1, 0];

    /// <summary>Primary master and slave, secondary master and slave. There are no more devices than places.</summary>
    public static AtaDevice?[] Fill(GuestMemory memory, MachineParts parts, BootPaths boot)
    {
        var places = new AtaDevice?[PiixIde.MaxDevices];
        int next = 0;
        foreach (MachineDisk disk in parts.Disks.Where(disk => disk.Bus == DiskBus.Ide))
        {
            AddBoot(disk, next);
            places[next++] = new AtaDisk(memory, disk.Backend, disk.Spec.Serial ?? $"HD{next:D8}") { Failed = problem => parts.Warn($"disk '{disk.Spec.Path}': {problem}") };
        }

        int drives = 0;
        foreach (MachineDrive drive in parts.CdDrives.Where(drive => drive.Bus == DiskBus.Ide))
        {
            foreach (int place in CdOrder)
            {
                if (places[place] is null)
                {
                    AddBoot(drive, place);
                    places[place] = MakeCdDrive(memory, parts, drive, ++drives);
                    break;
                }
            }
        }

        return places;

        void AddBoot(object part, int place) => boot.AddIde(part, PiixIsaBridge.Device, PiixIde.FunctionNumber, place);
    }

    /// <param name="number">1 for the first: part of its serial number.</param>
    public static AtapiDrive MakeCdDrive(GuestMemory memory, MachineParts parts, MachineDrive drive, int number)
    {
        var device = new AtapiDrive(memory, drive.Medium, $"CD{number:D8}", drive.IsOpen)
        {
            Failed = problem => parts.Warn($"'{drive.Name}': {problem}"),
            TrayMoved = isOpen => drive.IsOpen = isOpen,
        };
        drive.Device = device;
        return device;
    }
}
