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

    internal MachineStatistics(string engine, int resets, VcpuStatistics vcpu, PortBus ports, MmioBus mmio)
    {
        Engine = engine;
        Resets = resets;
        Vcpu = vcpu;
        _ports = ports;
        _mmio = mmio;
    }

    /// <summary>The engine's name; empty before the machine starts.</summary>
    public string Engine { get; } = "";

    /// <summary>How often the guest has reset the machine.</summary>
    public int Resets { get; }

    public VcpuStatistics Vcpu { get; } = new();

    /// <summary>Accesses to ports at which there is no device.</summary>
    public long UnclaimedPortAccesses => _ports?.UnclaimedAccesses ?? 0;

    /// <summary>Accesses to physical addresses at which there is neither memory nor a device.</summary>
    public long UnclaimedMmioAccesses => _mmio?.UnclaimedAccesses ?? 0;

    public override string ToString() => string.Join('\n',
    [
        $"engine                   {Engine}",
        Row("resets", Resets),
        Row("blocks translated", Vcpu.BlocksTranslated),
        Row("instructions translated", Vcpu.InstructionsTranslated),
        Row("code bytes", Vcpu.CodeBytes),
        Row("blocks invalidated", Vcpu.BlocksInvalidated),
        Row("dispatcher entries", Vcpu.DispatcherEntries),
        Row("TLB misses", Vcpu.TlbMisses),
        Row("TLB flushes", Vcpu.TlbFlushes),
        Row("page faults", Vcpu.PageFaults),
        Row("exceptions", Vcpu.Exceptions),
        Row("interrupts", Vcpu.Interrupts),
        Row("privileged instructions", Vcpu.PrivilegedInstructions),
        Row("port accesses", Vcpu.PortAccesses),
        Row("  with no device", UnclaimedPortAccesses),
        Row("MMIO accesses", Vcpu.MmioAccesses),
        Row("  with no device", UnclaimedMmioAccesses),
        Row("halts", Vcpu.Halts),
    ]);

    private static string Row(string name, long count) => string.Create(CultureInfo.InvariantCulture, $"{name,-24} {count:N0}");
}
