using System.Net;
using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;
using Vivarium.Network;
using Vivarium.Storage;

namespace Vivarium.Cli.Verbs;

/// <summary>What the words of <c>viv run</c> and the guest's files come to.</summary>
/// <param name="Spec">The machine, but for the ports of <paramref name="AnyPort"/>.</param>
/// <param name="AnyPort">Forwards for which the host is to choose a free port: <see cref="VirtualMachine.ForwardPort"/>.</param>
/// <param name="Access">How to log in to the guest by SSH, if it is one that viv knows.</param>
internal sealed record MachinePlan(MachineSpec Spec, IReadOnlyList<PortForward> AnyPort, SshAccess? Access)
{
    private const int SshPort = 22;
    private const string SerialConsole = "console=ttyS0";
    private const string VirtioConsole = "console=hvc0";
    private const ulong DiskGuestMemory = ByteSize.GiB;

    /// <summary>The machine as far as it can be told, and checked, before the guest's files are there.</summary>
    /// <exception cref="InvalidInputException">Something cannot be.</exception>
    public static MachineSpec Draft(RunOptions options)
    {
        var spec = new MachineSpec
        {
            Kernel = options.Kernel ?? (options.Firmware is null ? "" : null),
            Modules = options.Modules,
            Firmware = options.Firmware?.Draft,
            BootOrder = options.BootOrder ?? MachineSpec.DefaultBootOrder,
            Initrd = options.Initrd,
            CommandLine = options.Append ?? "",
            Memory = options.Memory ?? MachineSpec.DefaultMemory,
            Cpu = options.Cpu,
            Cpus = options.Cpus,
            Virtualization = options.Virtualization,
            Engine = options.Engine,
            EngineOptions = options.EngineOptions,
            OnReboot = options.NoReboot ? RebootPolicy.End : RebootPolicy.Restart,
            Timeout = options.Timeout,
            MeasureTimes = options.Statistics,
            PerfMap = options.PerfMap,
            Virtio = options.Virtio,
            SerialPorts = 1 + options.MoreSerial.Count,
            VirtioConsole = options.VirtioConsole,
            Vsock = options.Vsock,
            Gdb = options.Gdb,
            Balloon = options.Balloon,
            Ports = [.. options.Ports.Select(port => port.Name)],
            Shares = options.Shares,
            Disks = [.. options.Disks.Select(disk => options.Ephemeral && !disk.ReadOnly ? disk with { Overlay = true } : disk)],
            Cdroms = options.Cdroms,
            Floppies = [.. options.Floppies.Select(floppy => options.Ephemeral && !floppy.ReadOnly ? floppy with { Overlay = true } : floppy)],
        };
        spec.Validate();
        return spec;
    }

    /// <param name="draft">From <see cref="Draft"/>.</param>
    /// <param name="options">The words.</param>
    /// <param name="boot">The guest's files, or null if the words name a kernel.</param>
    /// <param name="name">What the machine is called.</param>
    public static MachinePlan Complete(MachineSpec draft, RunOptions options, BootSet? boot, string name)
    {
        MachineSpec spec = boot is null ? draft : draft with
        {
            Kernel = boot.Kernel,
            Initrd = boot.Initrd,
            CommandLine = $"{CommandLine(boot, draft)} {draft.CommandLine}".TrimEnd(),
            Memory = options.Memory ?? (boot.Disk is null ? MachineSpec.DefaultMemory : DiskGuestMemory),
            Disks = boot.Disk is null ? draft.Disks : [new DiskSpec { Path = boot.Disk, Format = ImageFormat.Raw, Overlay = !options.Persist }, .. draft.Disks],
        };
        spec = spec with { Name = name, Trace = options.Trace?.For(name) };
        NetworkOption network = options.Network.OrDefault(isUseful: spec.Disks.Count != 0 || NetworkBoot.IsWanted(options));
        if (network is NetworkOption.None)
        {
            spec.Validate();
            return new MachinePlan(spec, [], null);
        }

        List<PortForward> anyPort = [.. options.Network.Forwards.Where(forward => forward.HostPort == 0)];
        if (boot?.Ssh is not null && network is NetworkOption.User && !options.Network.Forwards.Any(LeadsToSsh))
        {
            anyPort.Add(new PortForward(IPAddress.Loopback, 0, SshPort, Udp: false));
        }

        spec = spec with
        {
            Networks = [new NetworkSpec { Network = network, Model = options.Network.Model, Forwards = [.. options.Network.Forwards.Except(anyPort)], Allow = options.Network.Allow, Name = name }],
        };
        spec.Validate();
        return new MachinePlan(spec, anyPort, boot?.Ssh);
    }

    /// <summary>What is to be told of a machine made from this plan.</summary>
    /// <param name="record">What was told of it before.</param>
    /// <param name="opened">The ports that the host has chosen.</param>
    /// <param name="folder">The machine's folder, where its key is kept.</param>
    public MachineRecord Describe(MachineRecord record, IReadOnlyList<PortForward> opened, MachineFolder folder)
    {
        List<PortForward> forwards = [.. Spec.Networks.SelectMany(network => network.Forwards), .. opened];
        return record with
        {
            Stage = MachineStage.Running,
            Started = DateTimeOffset.UtcNow,
            Memory = Spec.Memory,
            Disks = [.. Spec.Disks.Select(Describe)],
            Networks = [.. Spec.Networks.Select(network => network.Network.ToString()!)],
            Forwards = [.. forwards.Select(forward => new ForwardRecord(forward.Udp ? "udp" : "tcp", forward.Address.ToString(), forward.HostPort, forward.GuestPort))],
            Ssh = forwards.FirstOrDefault(LeadsToSsh) is { } way ? Login(way, folder) : null,
        };
    }

    private static string CommandLine(BootSet boot, MachineSpec spec)
    {
        string line = spec.VirtioConsole ? boot.CommandLine.Replace(SerialConsole, VirtioConsole, StringComparison.Ordinal) : boot.CommandLine;
        return spec.Virtualization == Virtualization.Full ? $"{line} {LinuxCommandLine.ForFull}" : line;
    }

    private static DiskRecord Describe(DiskSpec disk)
    {
        string format = disk.Format switch { ImageFormat.Raw => "raw", ImageFormat.Qcow2 => "qcow2", _ => "auto" };
        return new DiskRecord(Path.GetFullPath(disk.Path), format, disk.ReadOnly, disk.Overlay);
    }

    private static bool LeadsToSsh(PortForward forward) => forward is { GuestPort: SshPort, Udp: false };

    private SshRecord Login(PortForward way, MachineFolder folder)
    {
        string address = (way.Address.Equals(IPAddress.Any) ? IPAddress.Loopback : way.Address).ToString();
        return Access is null
            ? new SshRecord(Environment.UserName, address, way.HostPort, KeyFile: null, HostKey: null)
            : new SshRecord(Access.User, address, way.HostPort, folder.KeepKey(Access.KeyFile), Access.HostKey);
    }
}
