namespace Vivarium.Devices;

/// <summary>One base address register (PCI 3.0, 6.2.5.1) and where its range is mapped now.</summary>
internal sealed class PciBar(int index, ulong size, IMmioDevice? memory, IPortDevice? ports, bool is64Bit)
{
    public int Index { get; } = index;

    /// <summary>A power of two.</summary>
    public ulong Size { get; } = size;

    public IMmioDevice? Memory { get; } = memory;

    public IPortDevice? Ports { get; } = ports;

    public bool Is64Bit { get; } = is64Bit;

    /// <summary>The address at which the bus answers, or null.</summary>
    public ulong? MappedAt { get; set; }
}
