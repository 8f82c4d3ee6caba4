using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Firmware;
using Vivarium.Host;
using Vivarium.Input;
using Vivarium.Networks;
using Vivarium.Shares;

namespace Vivarium.Board;

/// <summary>What a machine owns on the host besides its board: open from the machine's making to its end.</summary>
internal sealed class MachineParts : IDisposable
{
    private readonly List<MachineDisk> _disks = [];
    private readonly List<MachineDrive> _cdDrives = [];
    private readonly List<MachineDrive> _floppyDrives = [];
    private readonly List<MachineNetwork> _networks = [];
    private readonly List<MachineShare> _shares = [];

    private MachineParts(MachineSpec spec, Action<string> warn)
    {
        Virtualization = spec.Virtualization;
        Virtio = spec.Virtio;
        BootOrder = spec.BootOrder;
        HasBalloon = spec.Balloon ?? spec.Virtualization == Virtualization.Para;
        Screen = spec.Virtualization == Virtualization.Full ? new MachineScreen() : null;
        VirtioConsole = spec.VirtioConsole ? new MachineConsole() : null;
        Keyboard = new MachineKeyboard(spec.HasKeyboardController);
        Pointer = new MachinePointer(spec.HasKeyboardController);
        MoreSerialLines = [.. Enumerable.Range(1, spec.SerialPorts - 1).Select(_ => new MachineConsole())];
        Ports = spec.Ports.ToDictionary(name => name, _ => new MachineConsole());
        Warn = warn;
    }

    public Virtualization Virtualization { get; }

    public VirtioSpec Virtio { get; }

    public IReadOnlyList<BootDevice> BootOrder { get; }

    public IReadOnlyList<MachineDisk> Disks => _disks;

    /// <summary>CD drives in the order in which they were asked for.</summary>
    public IReadOnlyList<MachineDrive> CdDrives => _cdDrives;

    /// <summary>Floppy drives, A first.</summary>
    public IReadOnlyList<MachineDrive> FloppyDrives => _floppyDrives;

    public IReadOnlyList<MachineNetwork> Networks => _networks;

    public IReadOnlyList<MachineShare> Shares => _shares;

    /// <summary>What a monitor shows; null if there is no video card.</summary>
    public MachineScreen? Screen { get; }

    public MachineKeyboard Keyboard { get; }

    public MachinePointer Pointer { get; }

    /// <summary>The far end of the virtio console; null without one.</summary>
    public MachineConsole? VirtioConsole { get; }

    /// <summary>The far ends of the serial ports from COM2 on.</summary>
    public IReadOnlyList<MachineConsole> MoreSerialLines { get; }

    /// <summary>The far ends of the virtio console ports, by name.</summary>
    public IReadOnlyDictionary<string, MachineConsole> Ports { get; }

    /// <summary>The guest's context identifier and the host's end of its sockets; null without a socket device.</summary>
    public (uint Cid, VsockSockets Sockets)? Vsock { get; private set; }

    /// <summary>How many virtio devices the board will have: one for consoles, and one for entropy.</summary>
    public int VirtioDevices => _disks.Count(disk => disk.Bus == DiskBus.Virtio) + _networks.Count(network => network.Model == NetworkModel.Virtio) + _shares.Count + (HasConsoleDevice ? 1 : 0) + (Vsock is null ? 0 : 1) + (HasBalloon ? 1 : 0) + (HasEntropyDevice ? 1 : 0);

    public bool HasBalloon { get; }

    /// <summary>What the balloon of each power cycle is to take, in bytes.</summary>
    public ulong BalloonTarget { get; set; }

    /// <summary>Nobody names it, so a classic PC has none.</summary>
    public bool HasEntropyDevice => Virtualization == Virtualization.Para;

    public bool HasConsoleDevice => VirtioConsole is not null || Ports.Count != 0;

    /// <summary>Takes a sentence for the user about something that went wrong while the machine goes on.</summary>
    public Action<string> Warn { get; }

    /// <exception cref="InvalidInputException">A disk, network, socket or folder cannot be had; the message says why.</exception>
    public static MachineParts Open(MachineSpec spec, Action<string> warn)
    {
        var parts = new MachineParts(spec, warn);
        try
        {
            foreach (DiskSpec disk in spec.Disks)
            {
                parts._disks.Add(MachineDisk.Open(disk, spec.BusOf(disk)));
            }

            foreach (CdromSpec cdrom in spec.Cdroms)
            {
                parts._cdDrives.Add(new MachineDrive(MachineDrive.NameOf(MachineDrive.Cd, parts._cdDrives.Count), cdrom.Bus, path => CdImage.Open(path, warn), cdrom.Path));
            }

            foreach (FloppySpec floppy in spec.Floppies)
            {
                parts._floppyDrives.Add(new MachineDrive(MachineDrive.NameOf(MachineDrive.Floppy, parts._floppyDrives.Count), null, path => FloppyImage.Open(path, floppy), floppy.Path));
            }

            foreach (NetworkSpec network in spec.Networks)
            {
                if (MachineNetwork.Open(network, spec.ModelOf(network), parts._networks.Count, warn) is { } opened)
                {
                    parts._networks.Add(opened);
                }
            }

            if (spec.Vsock is { } vsock)
            {
                parts.Vsock = (vsock.Cid, OpenVsock(vsock.Path));
            }

            foreach (ShareSpec share in spec.Shares)
            {
                parts._shares.Add(MachineShare.Open(share, LinuxDescriptors.ForEach(spec.Shares.Count)));
            }

            parts.CheckRoom();
            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }

    /// <summary>The drive that people call so: cd, cd2, ..., floppy, floppy2.</summary>
    /// <exception cref="InvalidInputException">There is none.</exception>
    public MachineDrive FindDrive(string name)
    {
        IEnumerable<MachineDrive> drives = _cdDrives.Concat(_floppyDrives);
        return drives.FirstOrDefault(drive => drive.Name == name) ?? throw new InvalidInputException(drives.Any()
            ? $"this machine has no drive '{name}'; it has {string.Join(", ", drives.Select(drive => drive.Name))}"
            : $"this machine has no drive '{name}'; run it with --cdrom or --floppy, and a file or none behind it, to have one");
    }

    /// <summary>Lets a vCPU go that waits because nobody reads its output: its machine is to end.</summary>
    public void ReleaseWriters()
    {
        VirtioConsole?.ReleaseWriters();
        foreach (MachineConsole port in Ports.Values.Concat(MoreSerialLines))
        {
            port.ReleaseWriters();
        }
    }

    /// <summary>The machine has ended: nothing more comes from the guest, and nothing more reaches it.</summary>
    public void CloseConsoles()
    {
        VirtioConsole?.Close();
        foreach (MachineConsole port in Ports.Values.Concat(MoreSerialLines))
        {
            port.Close();
        }
    }

    /// <exception cref="InvalidInputException">There are more virtio devices than places for them.</exception>
    private void CheckRoom()
    {
        (int places, string way) = Virtio.Transport == VirtioTransport.Pci ? (PciBus.MostDevices - (Screen is null ? 0 : 1), "pci") : (PlatformLayout.VirtioMmioMaximum, "mmio");
        if (VirtioDevices > places)
        {
            throw new InvalidInputException($"a machine has room for {places} virtio devices with --virtio {way}, and {VirtioDevices} are asked for; leave out some disks, shares or networks");
        }
    }

    public void Dispose()
    {
        CloseConsoles();
        Keyboard.Attach(null);
        Pointer.Attach(null);
        Vsock?.Sockets.Dispose();
        foreach (MachineNetwork network in _networks)
        {
            network.Dispose();
        }

        foreach (MachineShare share in _shares)
        {
            share.Dispose();
        }

        foreach (MachineDrive drive in _cdDrives.Concat(_floppyDrives))
        {
            try
            {
                drive.Dispose();
            }
            catch (IOException e)
            {
                Warn($"'{drive.Name}': what the guest wrote last may be lost: {e.Message}");
            }
        }

        foreach (MachineDisk disk in _disks)
        {
            try
            {
                disk.Flush();
            }
            catch (IOException e)
            {
                Warn($"disk '{disk.Spec.Path}': what the guest wrote last may be lost: {e.Message}");
            }

            disk.Dispose();
        }
    }

    private static VsockSockets OpenVsock(string path)
    {
        try
        {
            return VsockSockets.Open(path);
        }
        catch (IOException e)
        {
            throw new InvalidInputException(e.Message, e);
        }
    }
}
