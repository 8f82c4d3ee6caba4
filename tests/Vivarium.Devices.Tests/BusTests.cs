namespace Vivarium.Devices.Tests;

public class BusTests
{
    private sealed class Recorder : IPortDevice, IMmioDevice
    {
        public List<(ulong Offset, int Size, ulong Value)> Writes { get; } = [];

        public uint ReadPort(ushort offset, int size) => 0xDDCC_BBA0u + offset;

        public void WritePort(ushort offset, int size, uint value) => Writes.Add((offset, size, value));

        public ulong ReadMmio(ulong offset, int size) => 0x8877_6655_DDCC_BBA0 + offset;

        public void WriteMmio(ulong offset, int size, ulong value) => Writes.Add((offset, size, value));
    }

    [Fact]
    public void String_input_from_a_port_without_device_is_all_ones()
    {
        var elements = new byte[8];
        new PortBus().Read(0x1234, 2, elements);
        Assert.All(elements, value => Assert.Equal(0xFF, value));
    }

    [Fact]
    public void Unclaimed_ports_read_all_ones_and_are_counted()
    {
        var ports = new PortBus();
        Assert.Equal(0xFFu, ports.Read(0x10, 1));
        Assert.Equal(0xFFFF_FFFFu, ports.Read(0x10, 4));
        Assert.Equal(0xFFFFu, ports.Read(0xFFFF, 2));
        ports.Write(0x10, 1, 0);
        Assert.Equal(7, ports.UnclaimedAccesses);
    }

    [Fact]
    public void A_device_sees_offsets_from_its_own_base_and_values_of_the_access_size()
    {
        var ports = new PortBus();
        var device = new Recorder();
        ports.Map(0x100, 4, device, "test", 8);
        Assert.Equal(0xBBA9u, ports.Read(0x101, 2));
        ports.Write(0x102, 1, 0x1234);
        Assert.Equal((10UL, 1, 0x34UL), Assert.Single(device.Writes));
    }

    [Fact]
    public void A_port_access_across_the_end_of_a_range_is_split_into_bytes()
    {
        var ports = new PortBus();
        var device = new Recorder();
        ports.Map(0x100, 2, device, "test");
        Assert.Equal(0xFFFF_FFA1u, ports.Read(0x101, 4));
        ports.Write(0xFF, 4, 0x4433_2211);
        Assert.Equal([(0UL, 1, 0x22UL), (1UL, 1, 0x33UL)], device.Writes);
    }

    [Fact]
    public void Overlapping_ports_are_refused_and_unmapped_ones_are_free_again()
    {
        var ports = new PortBus();
        ports.Map(0x100, 4, new Recorder(), "first");
        var refused = Assert.Throws<InvalidOperationException>(() => ports.Map(0x103, 1, new Recorder(), "second"));
        Assert.Equal("Port 0x0103 of second already belongs to first.", refused.Message);
        ports.Unmap(0x100);
        ports.Map(0x103, 1, new Recorder(), "second");
        Assert.Equal(0xFFu, ports.Read(0x100, 1));
        Assert.Equal([((ushort)0x103, 1, "second")], ports.Mappings());
    }

    [Fact]
    public void Mmio_finds_the_right_one_of_many_ranges()
    {
        var mmio = new MmioBus();
        var devices = new Recorder[9];
        for (var i = 8; i >= 0; i--)
            mmio.Map((ulong)i * 0x2000, 0x1000, devices[i] = new Recorder(), $"device {i}");
        for (var i = 0; i < 9; i++)
        {
            mmio.Write((ulong)i * 0x2000 + 0xFFC, 4, 7);
            Assert.Equal((0xFFCUL, 4, 7UL), Assert.Single(devices[i].Writes));
            Assert.Equal(0xFFUL, mmio.Read((ulong)i * 0x2000 + 0x1000, 1));
        }

        Assert.Equal(9, mmio.UnclaimedAccesses);
    }

    [Fact]
    public void An_mmio_access_across_ranges_is_split_into_bytes()
    {
        var mmio = new MmioBus();
        var device = new Recorder();
        mmio.Map(0x1000, 0x10, device, "test");
        Assert.Equal(0xFFFF_FFFF_FFFF_FFAFUL, mmio.Read(0x100F, 8));
        Assert.Equal(0xA0FF_FFFFUL, mmio.Read(0xFFD, 4));
        Assert.Equal(ulong.MaxValue, mmio.Read(ulong.MaxValue, 2) | 0xFFFF_FFFF_FFFF_0000);
        Assert.Throws<InvalidOperationException>(() => mmio.Map(0x100F, 1, device, "other"));
        mmio.Unmap(0x1000);
        Assert.Equal(0xFFUL, mmio.Read(0x1000, 1));
    }
}
