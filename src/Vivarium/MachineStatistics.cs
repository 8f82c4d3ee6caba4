using System.Globalization;
using Vivarium.Devices;
using Vivarium.Engine;

namespace Vivarium;

/// <summary>What a machine has done, in counts; <see cref="ToString"/> is the table that <c>viv run --stats</c> prints.</summary>
public sealed class MachineStatistics
{
    private readonly PortBus? _ports;
    private readonly MmioBus? _mmio;

    internal MachineStatistics()
    {
    }

    internal MachineStatistics(string engine, int resets, IReadOnlyList<VcpuStatistics> vcpus, PortBus ports, MmioBus mmio)
    {
        Engine = engine;
        Resets = resets;
        Vcpus = vcpus;
        _ports = ports;
        _mmio = mmio;
    }

    /// <summary>The engine's name; empty before the machine starts.</summary>
    public string Engine { get; } = "";

    /// <summary>How often the guest has reset the machine.</summary>
    public int Resets { get; }

    /// <summary>Each processor's counters.</summary>
    public IReadOnlyList<VcpuStatistics> Vcpus { get; } = [];

    /// <summary>Accesses to ports at which there is no device.</summary>
    public long UnclaimedPortAccesses => _ports?.UnclaimedAccesses ?? 0;

    /// <summary>Accesses to physical addresses at which there is neither memory nor a device.</summary>
    public long UnclaimedMmioAccesses => _mmio?.UnclaimedAccesses ?? 0;

    /// <summary>How often the guest's processors had to wait for the monitor for that reason, together.</summary>
    public long Exits(ExitCause cause) => Vcpus.Sum(vcpu => vcpu.Exits(cause));

    /// <summary>The processors' time for it, together; zero unless <see cref="MachineSpec.MeasureTimes"/> is set.</summary>
    public TimeSpan Time(VcpuActivity activity) =>
        Vcpus.Aggregate(TimeSpan.Zero, (sum, vcpu) => sum + (vcpu.Times?.Of(activity) ?? TimeSpan.Zero));

    public override string ToString() => string.Join('\n',
    [
        $"engine                   {Engine}",
        Row("resets", Resets),
        Row("blocks translated", vcpu => vcpu.BlocksTranslated),
        Row("instructions translated", vcpu => vcpu.InstructionsTranslated),
        Row("code bytes", vcpu => vcpu.CodeBytes),
        Row("blocks invalidated", vcpu => vcpu.BlocksInvalidated),
        Row("dispatcher entries", vcpu => vcpu.DispatcherEntries),
        Row("TLB misses", vcpu => vcpu.TlbMisses),
        Row("TLB flushes", vcpu => vcpu.TlbFlushes),
        Row("page faults", vcpu => vcpu.PageFaults),
        Row("exceptions", vcpu => vcpu.Exceptions),
        Row("interrupts", vcpu => vcpu.Interrupts),
        Row("privileged instructions", vcpu => vcpu.PrivilegedInstructions),
        Row("port accesses", vcpu => vcpu.PortAccesses),
        Row("  with no device", UnclaimedPortAccesses),
        Row("MMIO accesses", vcpu => vcpu.MmioAccesses),
        Row("  with no device", UnclaimedMmioAccesses),
        Row("halts", vcpu => vcpu.Halts),
    ]);

    private string Row(string name, Func<VcpuStatistics, long> count) => Row(name, Vcpus.Sum(count));

    private static string Row(string name, long count) => string.Create(CultureInfo.InvariantCulture, $"{name,-24} {count:N0}");
}
