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

    /// <summary>Counters of each processor.</summary>
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
        Row("blocks translated", cpu => cpu.BlocksTranslated),
        Row("instructions translated", cpu => cpu.InstructionsTranslated),
        // They share one cache, and each knows how full it was when it last translated.
        Row("code bytes", Vcpus.Max(cpu => cpu.CodeBytes)),
        Row("blocks invalidated", cpu => cpu.BlocksInvalidated),
        Row("dispatcher entries", cpu => cpu.DispatcherEntries),
        Row("TLB misses", cpu => cpu.TlbMisses),
        Row("TLB flushes", cpu => cpu.TlbFlushes),
        Row("page faults", cpu => cpu.PageFaults),
        Row("exceptions", cpu => cpu.Exceptions),
        Row("interrupts", cpu => cpu.Interrupts),
        Row("privileged instructions", cpu => cpu.PrivilegedInstructions),
        Row("port accesses", cpu => cpu.PortAccesses),
        Row("  with no device", UnclaimedPortAccesses),
        Row("MMIO accesses", cpu => cpu.MmioAccesses),
        Row("  with no device", UnclaimedMmioAccesses),
        Row("halts", cpu => cpu.Halts),
    ]);

    private static string Row(string name, long count) => string.Create(CultureInfo.InvariantCulture, $"{name,-24} {count:N0}");

    /// <summary>The sum over all processors.</summary>
    private string Row(string name, Func<VcpuStatistics, long> count) => Row(name, Vcpus.Sum(count));
}
