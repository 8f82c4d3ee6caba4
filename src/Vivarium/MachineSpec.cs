using System.Globalization;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Firmware.Boot;

namespace Vivarium;

/// <summary>Everything that a machine is made from, checked before anything starts.</summary>
public sealed record MachineSpec
{
    /// <summary>Least memory that any kernel we can load needs: the first MiB and some room above it.</summary>
    public const ulong SmallestMemory = 2 * ByteSize.MiB;

    /// <summary>Thirty days: beyond it a time limit is a slip of the pen.</summary>
    public const double LongestTimeoutSeconds = 30 * 86400.0;

    public const int MostCpus = 64;

    /// <summary>What one PCI bus has room for besides the other devices.</summary>
    public const int MostDisks = 16;

    /// <summary>Two IDE channels of two disks or CD drives.</summary>
    public const int MostIdeDisks = PiixIde.MaxDevices;

    /// <summary>What the Serial ATA controller has ports for.</summary>
    public const int MostAhciDevices = AhciController.Ports;

    /// <summary>What the floppy controller's cable has room for.</summary>
    public const int MostFloppies = 2;

    public const int MostNetworks = 4;

    /// <summary>COM1 to COM4.</summary>
    public const int MostSerialPorts = 4;

    public const int MostPorts = 16;

    public const int MostShares = 8;

    /// <summary>What firmware tries if nothing else is said.</summary>
    public static IReadOnlyList<BootDevice> DefaultBootOrder { get; } = [BootDevice.Disk, BootDevice.Cd, BootDevice.Floppy];

    public const ulong DefaultMemory = 512 * ByteSize.MiB;

    /// <summary>
    /// Kernel file: bzImage, ELF vmlinux with a PVH note, or multiboot kernel; null to start <see cref="Firmware"/> alone.
    /// </summary>
    public string? Kernel { get; init; }

    /// <summary>Further files for a multiboot kernel.</summary>
    public IReadOnlyList<ModuleSpec> Modules { get; init; } = [];

    /// <summary>
    /// Firmware to start at the reset vector, which a kernel that calls it (<see cref="CallsFirmware"/>) is handed to; null for a
    /// kernel that starts without.
    /// </summary>
    public FirmwareSpec? Firmware { get; init; }

    /// <summary>From what firmware boots, in this order; with what is not named it does as it likes.</summary>
    public IReadOnlyList<BootDevice> BootOrder { get; init; } = DefaultBootOrder;

    /// <summary>Initial RAM disk, or null.</summary>
    public string? Initrd { get; init; }

    public string CommandLine { get; init; } = "";

    /// <summary>Guest RAM in bytes; whole MiB.</summary>
    public ulong Memory { get; init; } = DefaultMemory;

    /// <summary>One of <see cref="Engine.CpuModel.Names"/>.</summary>
    public string Cpu { get; init; } = CpuModel.Names[0];

    /// <summary>Virtual processors, 1 to <see cref="MostCpus"/>.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>Disks in the order in which the guest finds those of a bus (vda, vdb, ...); Linux looks at both IDE channels at once.</summary>
    public IReadOnlyList<DiskSpec> Disks { get; init; } = [];

    /// <summary>CD drives in the order in which the guest finds those of a bus; see <see cref="VirtualMachine.InsertMedium"/>.</summary>
    public IReadOnlyList<CdromSpec> Cdroms { get; init; } = [];

    /// <summary>Floppy drives: A, then B.</summary>
    public IReadOnlyList<FloppySpec> Floppies { get; init; } = [];

    /// <summary>Network cards in the order in which the guest finds them.</summary>
    public IReadOnlyList<NetworkSpec> Networks { get; init; } = [];

    /// <summary>How many serial ports the guest has, 1 to <see cref="MostSerialPorts"/>; see <see cref="VirtualMachine.SerialLines"/>.</summary>
    public int SerialPorts { get; init; } = 1;

    /// <summary>Give the guest a virtio console (hvc0 in Linux) beside its serial line; see <see cref="VirtualMachine.VirtioConsole"/>.</summary>
    public bool VirtioConsole { get; init; }

    /// <summary>
    /// Names of virtio console ports that programs in the guest find under /dev/virtio-ports; see <see cref="VirtualMachine.Ports"/>.
    /// </summary>
    public IReadOnlyList<string> Ports { get; init; } = [];

    /// <summary>
    /// Give the guest a memory balloon, through which what it does not use goes back to the host by itself; see
    /// <see cref="VirtualMachine.SetBalloonTarget"/>. Null: a classic PC (<see cref="Virtualization.Full"/>) has none, others have one.
    /// </summary>
    public bool? Balloon { get; init; }

    /// <summary>Sockets between guest and host without a network; null for none.</summary>
    public VsockSpec? Vsock { get; init; }

    /// <summary>What hardware the guest finds besides the devices that are named here one by one.</summary>
    public Virtualization Virtualization { get; init; } = Virtualization.Para;

    /// <summary>Folders of the host that the guest can mount.</summary>
    public IReadOnlyList<ShareSpec> Shares { get; init; } = [];

    public VirtioSpec Virtio { get; init; } = new();

    public EngineKind Engine { get; init; } = EngineKind.Auto;

    /// <summary>For the software engine.</summary>
    public EngineOptions EngineOptions { get; init; } = EngineOptions.Default;

    public RebootPolicy OnReboot { get; init; } = RebootPolicy.Restart;

    /// <summary>What the machine is called where figures of several are shown together.</summary>
    public string Name { get; init; } = "machine";

    /// <summary>Tell the host's <c>perf</c> what the translated code is; null: no.</summary>
    public PerfMapSpec? PerfMap { get; init; }

    /// <summary>What to write down of what happens; null for nothing.</summary>
    public TraceSpec? Trace { get; init; }

    /// <summary>Measure from the start where the processors' time goes, as <see cref="VirtualMachine.Measure"/> does later.</summary>
    public bool MeasureTimes { get; init; }

    /// <summary>Let a debugger (GDB) come; null for none. Whoever can reach the port owns the guest.</summary>
    public GdbSpec? Gdb { get; init; }

    /// <summary>Wall-clock limit for the whole run, or null.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// Whether a kernel counts on a PC's firmware beneath it: one with a 16-bit entry point that is no Linux (iPXE, Memtest86+), or one
    /// for multiboot. False for what cannot be read or is no kernel.
    /// </summary>
    public static bool CallsFirmware(string kernel) => KernelImage.CallsFirmware(kernel);

    /// <summary>How a disk of this machine is connected.</summary>
    internal DiskBus BusOf(DiskSpec disk) => disk.Bus ?? (Virtualization == Virtualization.Full ? DiskBus.Ide : DiskBus.Virtio);

    /// <summary>A guest that knows that it is virtual needs no keyboard controller, nor what is plugged into it.</summary>
    internal bool HasKeyboardController => Virtualization == Virtualization.Full;

    /// <summary>Which card a network of this machine has.</summary>
    public NetworkModel ModelOf(NetworkSpec network) => network.Model ?? (Virtualization == Virtualization.Full ? NetworkModel.E1000 : NetworkModel.Virtio);

    /// <summary>How many disks and CD drives are connected in this way.</summary>
    private int OnBus(DiskBus bus) => Disks.Count(disk => BusOf(disk) == bus) + Cdroms.Count(cdrom => cdrom.Bus == bus);

    /// <summary>Checks everything but the boot files, which <see cref="VirtualMachine.Create"/> opens and checks.</summary>
    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    public void Validate()
    {
        if (Memory == 0)
        {
            throw new InvalidInputException("a machine needs memory; write for example --memory 512M");
        }

        if (Memory < SmallestMemory)
        {
            throw new InvalidInputException($"{ByteSize.Format(Memory)} of memory is too small for any kernel; write for example --memory 512M");
        }

        if (Memory % ByteSize.MiB != 0)
        {
            throw new InvalidInputException($"memory is given in whole MiB, and {ByteSize.Format(Memory)} is not; write for example --memory {(Memory / ByteSize.MiB) + 1}M");
        }

        if (HostMemory.Total is { } host && Memory > host)
        {
            throw new InvalidInputException($"{ByteSize.Format(Memory)} of memory is more than this host has ({host / ByteSize.MiB}M)");
        }

        if (!CpuModel.Names.Contains(Cpu))
        {
            throw new InvalidInputException($"unknown CPU model '{Cpu}'; known are {string.Join(", ", CpuModel.Names)}");
        }

        if (Cpus is < 1 or > MostCpus)
        {
            throw new InvalidInputException($"a machine has 1 to {MostCpus} processors, and {Cpus} are asked for; write for example --cpus 2");
        }

        if (CommandLine.AsSpan().ContainsAnyInRange('\0', '\u001f'))
        {
            throw new InvalidInputException("the kernel command line contains control characters");
        }

        if (Kernel is null && Firmware is null)
        {
            throw new InvalidInputException("a machine starts a kernel or firmware; name one of them");
        }

        if (Kernel is null && Modules.Count != 0)
        {
            throw new InvalidInputException("modules go with a kernel, and this machine starts its firmware alone");
        }

        if (Disks.Count > MostDisks)
        {
            throw new InvalidInputException($"a machine has at most {MostDisks} disks, and {Disks.Count} are asked for");
        }

        if (OnBus(DiskBus.Ide) is var ideDisks && ideDisks > MostIdeDisks)
        {
            throw new InvalidInputException($"a machine has at most {MostIdeDisks} IDE disks and CD drives, and {ideDisks} are asked for; give the others bus=ahci or, disks, bus=virtio");
        }

        if (OnBus(DiskBus.Ahci) is var ahciDevices && ahciDevices > MostAhciDevices)
        {
            throw new InvalidInputException($"a machine has at most {MostAhciDevices} AHCI disks and CD drives, and {ahciDevices} are asked for");
        }

        if (Floppies.Count > MostFloppies)
        {
            throw new InvalidInputException($"a machine has at most {MostFloppies} floppy drives, and {Floppies.Count} are asked for");
        }

        foreach (CdromSpec cdrom in Cdroms)
        {
            cdrom.Validate();
        }

        foreach (FloppySpec floppy in Floppies)
        {
            floppy.Validate();
        }

        foreach (DiskSpec disk in Disks)
        {
            disk.Validate();
        }

        if (Networks.Count > MostNetworks)
        {
            throw new InvalidInputException($"a machine has at most {MostNetworks} network cards, and {Networks.Count} are asked for");
        }

        foreach (NetworkSpec network in Networks)
        {
            network.Validate();
            if (network.Rom is not null && ModelOf(network) == NetworkModel.Virtio && Virtio.Transport != VirtioTransport.Pci)
            {
                throw new InvalidInputException("firmware boots from network cards on the PCI bus, and --virtio mmio puts this one elsewhere; leave that out, or choose another card with --net user,model=e1000");
            }
        }

        if (SerialPorts is < 1 or > MostSerialPorts)
        {
            throw new InvalidInputException($"a PC has 1 to {MostSerialPorts} serial ports, and {SerialPorts} are asked for");
        }

        if (Ports.Count > MostPorts)
        {
            throw new InvalidInputException($"a machine has at most {MostPorts} ports, and {Ports.Count} are asked for");
        }

        foreach (string port in Ports)
        {
            // Linux makes a link of it.
            if (port.Length is 0 or > VirtioConsolePort.MaxName || port.AsSpan().ContainsAnyExceptInRange('!', '~') || port.Contains('/', StringComparison.Ordinal))
            {
                throw new InvalidInputException($"the name of a port has 1 to {VirtioConsolePort.MaxName} printable ASCII characters without blanks and slashes, unlike '{port}'");
            }

            if (Ports.Count(other => other == port) > 1)
            {
                throw new InvalidInputException($"there are two ports named '{port}'; give each a name of its own");
            }
        }

        Vsock?.Validate();

        if (Shares.Count > MostShares)
        {
            throw new InvalidInputException($"a machine has at most {MostShares} shares, and {Shares.Count} are asked for");
        }

        foreach (ShareSpec share in Shares)
        {
            share.Validate();
            if (Shares.Count(other => other.Tag == share.Tag) > 1)
            {
                throw new InvalidInputException($"there are two shares with the tag '{share.Tag}'; give each a tag of its own");
            }
        }

        Trace?.Validate();
        if (Timeout is { } limit && (limit <= TimeSpan.Zero || limit.TotalSeconds > LongestTimeoutSeconds))
        {
            throw new InvalidInputException($"a time limit of {limit.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s cannot be");
        }
    }
}
