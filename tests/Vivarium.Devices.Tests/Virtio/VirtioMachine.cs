using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>A board with RAM, ROM behind it, a PCI bus, and a simple allocator for what a driver puts into memory.</summary>
internal sealed class VirtioMachine : IDisposable
{
    public const ulong RamSize = 16 << 20;
    public const ulong RomStart = 0xE0000;
    public const ulong HighRamStart = 1 << 20;
    public const ulong MmioStart = 0xD000_0000;
    public const int MmioPin = 20;

    private readonly List<VirtioDevice> _devices = [];
    private ulong _next = HighRamStart;

    public VirtioMachine()
    {
        Memory = new GuestMemory(RamSize + HighRamStart);
        Memory.AddSlot(0, RomStart);
        Memory.AddSlot(RomStart, HighRamStart - RomStart, readOnly: true);
        Memory.AddSlot(HighRamStart, RamSize);
        Board.EnableApic();
        Host = new PciHost(new ResetControl());
        Host.Map(Board.Ports);
        Pci = new PciBus(Host, Board.Mmio, Board.Ports, Board.Interrupts);
    }

    public Board Board { get; } = new();

    public GuestMemory Memory { get; }

    public PciHost Host { get; }

    public PciBus Pci { get; }

    /// <summary>Plugs a device in and gives the driver's view of it.</summary>
    public VirtioDriver Plug(VirtioDevice device, Transport transport)
    {
        _devices.Add(device);
        if (transport == Transport.Mmio)
        {
            var mmio = new VirtioMmioTransport(device, Board.Interrupts.CreateIoApicLine(MmioPin));
            mmio.Map(Board.Mmio, MmioStart, "test");
            return new MmioDriver(this, mmio);
        }

        var pci = new VirtioPciTransport(device, "test");
        return new PciDriver(this, pci, Pci.Attach(pci.Function), transport == Transport.PciMsiX);
    }

    public ulong Allocate(int size, int alignment = 16)
    {
        var address = (_next + (ulong)alignment - 1) & ~((ulong)alignment - 1);
        _next = address + (ulong)size;
        Assert.True(_next <= HighRamStart + RamSize);
        return address;
    }

    public ulong Put(ReadOnlySpan<byte> bytes)
    {
        var address = Allocate(bytes.Length);
        Memory.Write(address, bytes);
        return address;
    }

    public byte[] Get(ulong address, int length)
    {
        var bytes = new byte[length];
        Memory.Read(address, bytes);
        return bytes;
    }

    public uint ReadPci(int device, int register, int size)
    {
        Board.Ports.Write(0xCF8, 4, 1u << 31 | (uint)device << 11 | (uint)register & 0xFC);
        return Board.Ports.Read((ushort)(0xCFC + (register & 3)), size);
    }

    public void WritePci(int device, int register, int size, uint value)
    {
        Board.Ports.Write(0xCF8, 4, 1u << 31 | (uint)device << 11 | (uint)register & 0xFC);
        Board.Ports.Write((ushort)(0xCFC + (register & 3)), size, value);
    }

    public void Dispose()
    {
        foreach (var device in _devices)
            device.Dispose();
        Memory.Dispose();
    }
}
