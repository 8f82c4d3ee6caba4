using Vivarium.Disks;
using Vivarium.Networks;

namespace Vivarium.Board;

/// <summary>What a machine owns on the host besides its board: open from the machine's making to its end.</summary>
internal sealed class MachineParts : IDisposable
{
    private readonly List<MachineDisk> _disks = [];
    private readonly List<MachineNetwork> _networks = [];

    private MachineParts(VirtioSpec virtio, Action<string> warn)
    {
        Virtio = virtio;
        Warn = warn;
    }

    public VirtioSpec Virtio { get; }

    public IReadOnlyList<MachineDisk> Disks => _disks;

    public IReadOnlyList<MachineNetwork> Networks => _networks;

    /// <summary>How many virtio devices the board will have.</summary>
    public int VirtioDevices => _disks.Count + _networks.Count;

    /// <summary>Takes a sentence for the user about something that went wrong while the machine goes on.</summary>
    public Action<string> Warn { get; }

    /// <exception cref="InvalidInputException">A disk or network cannot be had; the message says why.</exception>
    public static MachineParts Open(MachineSpec spec, Action<string> warn)
    {
        var parts = new MachineParts(spec.Virtio, warn);
        try
        {
            foreach (DiskSpec disk in spec.Disks)
            {
                parts._disks.Add(MachineDisk.Open(disk));
            }

            foreach (NetworkSpec network in spec.Networks)
            {
                if (MachineNetwork.Open(network, parts._networks.Count) is { } opened)
                {
                    parts._networks.Add(opened);
                }
            }

            return parts;
        }
        catch
        {
            parts.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        foreach (MachineNetwork network in _networks)
        {
            network.Dispose();
        }

        foreach (MachineDisk disk in _disks)
        {
            disk.Dispose();
        }
    }
}
