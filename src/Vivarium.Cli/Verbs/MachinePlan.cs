using System.Net;
using System.Net.Sockets;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;
using Vivarium.Network;
using Vivarium.Storage;

namespace Vivarium.Cli.Verbs;

/// <summary>What the words of <c>viv run</c> and the guest's files come to: the machine's specification, and how to log in to it.</summary>
internal sealed record MachinePlan(MachineSpec Spec, SshRecord? Ssh)
{
    private const int SshPort = 22;
    private const ulong DiskGuestMemory = ByteSize.GiB;

    /// <summary>The machine as far as it can be told, and checked, before the guest's files are there.</summary>
    /// <exception cref="InvalidInputException">Something cannot be.</exception>
    public static MachineSpec Draft(RunOptions options)
    {
        var spec = new MachineSpec
        {
            Kernel = options.Kernel ?? "",
            Initrd = options.Initrd,
            CommandLine = options.Append ?? "",
            Memory = options.Memory ?? MachineSpec.DefaultMemory,
            Cpu = options.Cpu,
            Engine = options.Engine,
            OnReboot = options.NoReboot ? RebootPolicy.End : RebootPolicy.Restart,
            Timeout = options.Timeout,
            Virtio = options.Virtio,
            Disks = [.. options.Disks.Select(disk => options.Ephemeral && !disk.ReadOnly ? disk with { Overlay = true } : disk)],
        };
        spec.Validate();
        return spec;
    }

    /// <param name="draft">From <see cref="Draft"/>.</param>
    /// <param name="options">The words.</param>
    /// <param name="boot">The guest's files, or null if the words name a kernel.</param>
    /// <param name="folder">The machine's folder.</param>
    public static MachinePlan Complete(MachineSpec draft, RunOptions options, BootSet? boot, MachineFolder folder)
    {
        MachineSpec spec = boot is null ? draft : draft with
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = $"{boot.CommandLine} {draft.CommandLine}".TrimEnd(),
            Memory = options.Memory ?? (boot.Disk is null ? MachineSpec.DefaultMemory : DiskGuestMemory),
            Disks = boot.Disk is null ? draft.Disks : [new DiskSpec { Path = boot.Disk, Format = ImageFormat.Raw, Overlay = !options.Persist }, .. draft.Disks],
        };
        NetworkOption network = options.Network.OrDefault(spec.Disks.Count != 0);
        List<PortForward> forwards = [.. options.Network.Forwards.Select(forward => forward.HostPort == 0 ? forward with { HostPort = FreePort(forward.Udp) } : forward)];
        if (boot?.Ssh is not null && network is NetworkOption.User && !forwards.Any(LeadsToSsh))
        {
            forwards.Add(new PortForward(IPAddress.Loopback, FreePort(udp: false), SshPort, Udp: false));
        }

        if (network is not NetworkOption.None)
        {
            spec = spec with { Networks = [new NetworkSpec { Network = network, Forwards = forwards, Name = folder.Name }] };
        }

        spec.Validate();
        return new MachinePlan(spec, forwards.FirstOrDefault(LeadsToSsh) is { } way ? Login(way, boot?.Ssh, folder) : null);
    }

    public IReadOnlyList<DiskRecord> Disks =>
        [.. Spec.Disks.Select(disk => new DiskRecord(Path.GetFullPath(disk.Path), disk.Format switch { ImageFormat.Raw => "raw", ImageFormat.Qcow2 => "qcow2", _ => "auto" }, disk.ReadOnly, disk.Overlay))];

    public IReadOnlyList<string> Networks => [.. Spec.Networks.Select(network => network.Network.ToString()!)];

    public IReadOnlyList<ForwardRecord> Forwards =>
        [.. Spec.Networks.SelectMany(network => network.Forwards).Select(forward => new ForwardRecord(forward.Udp ? "udp" : "tcp", forward.Address.ToString(), forward.HostPort, forward.GuestPort))];

    private static bool LeadsToSsh(PortForward forward) => forward is { GuestPort: SshPort, Udp: false };

    private static SshRecord Login(PortForward way, SshAccess? access, MachineFolder folder)
    {
        string address = (way.Address.Equals(IPAddress.Any) ? IPAddress.Loopback : way.Address).ToString();
        return access is null
            ? new SshRecord(Environment.UserName, address, way.HostPort, KeyFile: null, HostKey: null)
            : new SshRecord(access.User, address, way.HostPort, folder.KeepKey(access.KeyFile), access.HostKey);
    }

    /// <summary>A port that nobody has now. Who takes it between this and the machine's start makes that fail, in words.</summary>
    private static int FreePort(bool udp)
    {
        using var probe = new Socket(AddressFamily.InterNetwork, udp ? SocketType.Dgram : SocketType.Stream, udp ? ProtocolType.Udp : ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }
}
