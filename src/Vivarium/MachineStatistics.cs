using Vivarium.Devices;
using Vivarium.Engine;

namespace Vivarium;

/// <summary>What a machine has done in a power cycle, in counts, and where its time went. Live: read it from any thread, approximately.</summary>
public sealed class MachineStatistics
{
    private readonly IEngine? _engine;
    private readonly PortBus? _ports;
    private readonly MmioBus? _mmio;

    internal MachineStatistics()
    {
    }

    internal MachineStatistics(IEngine engine, int resets, IReadOnlyList<VcpuStatistics> vcpus, PortBus ports, MmioBus mmio)
    {
        _engine = engine;
        Resets = resets;
        Vcpus = vcpus;
        _ports = ports;
        _mmio = mmio;
    }

    /// <summary>The engine's name; empty before the machine starts.</summary>
    public string Engine => _engine?.Name ?? "";

    /// <summary>How often the guest has reset the machine.</summary>
    public int Resets { get; }

    /// <summary>The memory for translations.</summary>
    public CodeCacheUse CodeCache => _engine?.CodeCache ?? default;

    /// <summary>Counters of each processor.</summary>
    public IReadOnlyList<VcpuStatistics> Vcpus { get; } = [];

    /// <summary>Accesses to ports at which there is no device.</summary>
    public long UnclaimedPortAccesses => _ports?.UnclaimedAccesses ?? 0;

    /// <summary>Accesses to physical addresses at which there is neither memory nor a device.</summary>
    public long UnclaimedMmioAccesses => _mmio?.UnclaimedAccesses ?? 0;

    /// <summary>How often the guest's processors had to wait for the monitor for that reason, together.</summary>
    public long Exits(ExitCause cause) => Vcpus.Sum(vcpu => vcpu.Exits(cause));

    /// <summary>The processors' time for it, together; zero unless measured: <see cref="VirtualMachine.Measure"/>.</summary>
    public TimeSpan Time(VcpuActivity activity) =>
        Vcpus.Aggregate(TimeSpan.Zero, (sum, vcpu) => sum + (vcpu.Times?.Of(activity) ?? TimeSpan.Zero));

    /// <summary>How long the guest's processors have waited for the monitor for that reason, together; zero unless measured.</summary>
    public TimeSpan Time(ExitCause cause) =>
        Vcpus.Aggregate(TimeSpan.Zero, (sum, vcpu) => sum + (vcpu.Times?.Of(cause) ?? TimeSpan.Zero));

    /// <summary>Where in the guest's code that happens most, the most frequent place first; empty unless measured.</summary>
    public IReadOnlyList<ExitSite> Sites(ExitCause cause, int most) =>
        ExitSites.Top(Vcpus.Select(vcpu => vcpu.Sites).OfType<ExitSites>(), cause, most);
}
