using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>One base address register (PCI 3.0, 6.2.5), or the one for the expansion ROM, and where its range is mapped now.</summary>
internal sealed class PciBar
{
    /// <summary>From 0; the expansion ROM's counts as <see cref="PciFunction.Bars"/>.</summary>
    public required int Index { get; init; }

    /// <summary>A power of two.</summary>
    public required ulong Size { get; init; }

    /// <summary>What answers: registers in memory, ports, or memory itself.</summary>
    public IMmioDevice? Registers { get; init; }

    public IPortDevice? Ports { get; init; }

    public MemoryRegion? Region { get; init; }

    public bool Is64Bit { get; init; }

    public bool IsRom => Index == PciFunction.Bars;

    /// <summary>The address at which the bus answers, or null.</summary>
    public ulong? MappedAt { get; set; }
}
