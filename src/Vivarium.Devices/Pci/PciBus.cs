using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// PCI bus 0 behind the host bridge: gives functions their addresses and interrupt lines as firmware would, and leads
/// accesses to them as their base address registers say.
/// </summary>
public sealed class PciBus
{
    /// <summary>The first memory address given to base address registers: where the hole below 4 GiB begins.</summary>
    public const ulong MemoryWindowStart = 0xC000_0000;

    /// <summary>The last one; the I/O APIC follows.</summary>
    public const ulong MemoryWindowEnd = 0xFEBF_FFFF;

    /// <summary>The ports given to base address registers.</summary>
    public const ushort PortWindowStart = 0xC000;
    public const ushort PortWindowEnd = 0xFFFF;

    private const int Lines = 4;

    /// <summary>Device 0 is the host bridge; device 1 is kept for the ISA bridge and what belongs to it.</summary>
    private const int FirstDevice = 2;
    private const int LastDevice = 31;

    /// <summary>How many devices can be plugged in besides those that have places kept for them.</summary>
    public const int MostDevices = LastDevice - FirstDevice + 1;

    private const int PageSize = 0x1000;

    private readonly Lock _mapping = new();
    private readonly PciHost _host;
    private readonly MmioBus _mmio;
    private readonly PortBus _ports;
    private readonly InterruptRouter _interrupts;
    private readonly List<PciFunction> _functions = [];
    private ulong _nextMemory = MemoryWindowStart;
    private uint _nextPort = PortWindowStart;
    private int _nextDevice = FirstDevice;

    /// <summary>Where memory of the functions' own appears (<see cref="PciFunction.AddMemoryBar(int, MemoryRegion)"/>); null if none has any.</summary>
    public GuestMemory? Memory { get; init; }

    /// <summary>Firmware finds the functions and gives them addresses and interrupt lines; else the bus does it as they come.</summary>
    public bool FirmwareAssigns { get; init; }

    public PciBus(PciHost host, MmioBus mmio, PortBus ports, InterruptRouter interrupts)
    {
        _host = host;
        _mmio = mmio;
        _ports = ports;
        _interrupts = interrupts;
    }

    /// <summary>Plugs a function in as function 0 of the next free device and returns that device's number.</summary>
    /// <exception cref="InvalidOperationException">All places are taken, or the address windows are used up.</exception>
    public int Attach(PciFunction function)
    {
        if (_nextDevice > LastDevice)
            throw new InvalidOperationException($"There is no room for another PCI device: a machine has at most {MostDevices}.");
        var device = _nextDevice++;
        Attach(device, 0, function);
        return device;
    }

    /// <summary>Plugs a function into a place that is kept for it: one below those that the other overload gives out.</summary>
    /// <exception cref="InvalidOperationException">The place is taken, or the address windows are used up.</exception>
    public void Attach(int device, int number, PciFunction function)
    {
        function.MsiX?.Connect(_interrupts.Apics);
        function.Msi?.Connect(_interrupts.Apics);
        lock (_mapping)
            _functions.Add(function);

        // The swizzle that the DSDT's _PRT declares, for INTA#.
        var line = (device + Lines - 1) % Lines;
        function.Connect(this, function.HasInterrupt ? _interrupts.CreatePciLine(line) : null);
        if (!FirmwareAssigns)
        {
            foreach (var bar in function.BaseAddresses)
                function.SetBar(bar, bar.Ports is null ? AllocateMemory(bar.Size) : AllocatePorts((uint)bar.Size));
            function.Configure(function.HasInterrupt ? (byte)InterruptRouter.PciIrq(line) : (byte)0);
        }

        _host.Attach(device, number, function);
    }

    /// <summary>
    /// A function's command or base address registers have changed. A range that another device occupies is not mapped
    /// until that one has gone; real buses would have both answer.
    /// </summary>
    internal void Decode(PciFunction changed)
    {
        lock (_mapping)
        {
            foreach (var bar in changed.BaseAddresses)
            {
                if (bar.MappedAt is not { } mapped || mapped == changed.DecodedAddress(bar))
                    continue;
                Unmap(bar, mapped);
                bar.MappedAt = null;
            }

            foreach (var function in _functions)
            {
                foreach (var bar in function.BaseAddresses)
                {
                    if (bar.MappedAt is null && function.DecodedAddress(bar) is { } address && TryMap(function, bar, address))
                        bar.MappedAt = address;
                }
            }
        }
    }

    private bool TryMap(PciFunction function, PciBar bar, ulong address)
    {
        if (bar.Ports is not null)
            return _ports.TryMap((ushort)address, (int)bar.Size, bar.Ports, function.Name) is null;
        if (_mmio.TryMap(address, bar.Size, bar.Registers ?? Silence.Instance, function.Name) is not null)
            return false;
        if (bar.Region is null || MemoryOf(function).TryMap(address, bar.Region, readOnly: bar.IsRom))
            return true;
        _mmio.Unmap(address);
        return false;
    }

    private void Unmap(PciBar bar, ulong address)
    {
        if (bar.Ports is not null)
        {
            _ports.Unmap((ushort)address);
            return;
        }

        if (bar.Region is not null)
            Memory!.Unmap(address, bar.Size);
        _mmio.Unmap(address);
    }

    private GuestMemory MemoryOf(PciFunction function) =>
        Memory ?? throw new InvalidOperationException($"{function.Name} has memory of its own, and the bus was not told where to put it.");

    /// <summary>At least a page apart, so that a guest can protect each on its own.</summary>
    private ulong AllocateMemory(ulong size)
    {
        var alignment = Math.Max(size, PageSize);
        var address = (_nextMemory + alignment - 1) & ~(alignment - 1);
        if (address > MemoryWindowEnd || alignment - 1 > MemoryWindowEnd - address)
            throw new InvalidOperationException("The PCI devices need more address space than there is below 4 GiB.");
        _nextMemory = address + alignment;
        return address;
    }

    private ushort AllocatePorts(uint size)
    {
        var port = (_nextPort + size - 1) & ~(size - 1);
        if (port + size - 1 > PortWindowEnd)
            throw new InvalidOperationException("The PCI devices need more ports than there are.");
        _nextPort = port + size;
        return (ushort)port;
    }

    /// <summary>Holds the place of memory among the registers, and takes what is written to a ROM.</summary>
    private sealed class Silence : IMmioDevice
    {
        public static readonly Silence Instance = new();

        public ulong ReadMmio(ulong offset, int size) => ulong.MaxValue;

        public void WriteMmio(ulong offset, int size, ulong value)
        {
        }
    }
}
