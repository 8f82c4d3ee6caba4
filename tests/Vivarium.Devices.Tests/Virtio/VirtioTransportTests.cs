namespace Vivarium.Devices.Tests;

public sealed class VirtioTransportTests : IDisposable
{
    private const ulong UnofferedBit = 1ul << 33;

    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(Transport.PciMsiX)]
    [InlineData(Transport.Mmio)]
    public void Features_are_agreed_on_or_refused(Transport transport)
    {
        var device = new VirtioRng(_machine.Memory);
        device.Withhold(VirtioFeatures.RingPacked);
        var driver = _machine.Plug(device, transport);
        var offered = driver.DeviceFeatures;
        Assert.Equal(VirtioFeatures.Common & ~VirtioFeatures.RingPacked, offered);
        Assert.True(driver.Negotiate(offered));
        Assert.True(driver.Negotiate(VirtioFeatures.Version1));
        Assert.False(driver.Negotiate(0));
        Assert.False(driver.Negotiate(VirtioFeatures.IndirectDesc));
        Assert.False(driver.Negotiate(VirtioFeatures.Version1 | UnofferedBit));
        Assert.False(driver.Negotiate(VirtioFeatures.Version1 | VirtioFeatures.RingPacked));

        // Without FEATURES_OK the device does not start.
        driver.Start();
        Assert.Equal(0, driver.Status & VirtioDriver.DriverOk);
    }

    [Theory]
    [InlineData(Transport.PciMsiX)]
    [InlineData(Transport.Mmio)]
    public void Features_do_not_change_after_they_were_agreed_on(Transport transport)
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), transport);
        Assert.True(driver.Negotiate(VirtioFeatures.Version1));
        driver.DriverFeatures = VirtioFeatures.Version1 | VirtioFeatures.RingPacked;
        driver.AddQueue(0, 8);
        driver.Start();
        Assert.Equal(VirtioDriver.Acknowledge | VirtioDriver.Driver | VirtioDriver.FeaturesOk | VirtioDriver.DriverOk, driver.Status);
    }

    [Theory]
    [InlineData(Transport.PciMsiX)]
    [InlineData(Transport.Mmio)]
    public void Status_bits_cannot_be_taken_back_and_zero_resets(Transport transport)
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), transport);
        driver.Begin(0, 8);
        var started = driver.Status;
        driver.Status = VirtioDriver.Acknowledge;
        Assert.Equal(started, driver.Status);
        driver.Status = 0x80;
        Assert.Equal(started | 0x80, driver.Status);
        driver.Status = 0;
        Assert.Equal(0, driver.Status);
        Assert.Equal(64, driver.QueueSizeMax(0));
    }

    [Theory]
    [InlineData(Transport.PciMsiX, false)]
    [InlineData(Transport.PciMsiX, true)]
    [InlineData(Transport.Mmio, false)]
    [InlineData(Transport.Mmio, true)]
    public void A_queue_in_an_impossible_place_breaks_the_device(Transport transport, bool packed)
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), transport);
        const ulong start = VirtioMachine.HighRamStart;
        const ulong end = start + VirtioMachine.RamSize;
        ulong[][] places =
        [
            [start + 8, start + 0x2000, start + 0x4000],
            [start, start + 0x2001, start + 0x4000],
            [start, start + 0x2000, start + 0x4002],
            [end, start + 0x2000, start + 0x4000],
            [end - 16, start + 0x2000, start + 0x4000],
            [start, end - 2, start + 0x4000],
            [start, start + 0x2000, end - 2],
            [VirtioMachine.RomStart, start + 0x2000, start + 0x4000],
            [start, start + 0x2000, VirtioMachine.RomStart],
            [ulong.MaxValue - 15, start + 0x2000, start + 0x4000],
            [start, ulong.MaxValue - 3, start + 0x4000],
        ];
        foreach (var place in places)
        {
            Assert.True(driver.Negotiate(VirtioFeatures.Version1 | (packed ? VirtioFeatures.RingPacked : 0)));
            driver.SetQueue(0, 8, place[0], place[1], place[2]);
            Assert.False(driver.EnableQueue(0));
            Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
            driver.Start();
            driver.Notify(0);
        }
    }

    [Theory]
    [InlineData(Transport.PciMsiX)]
    [InlineData(Transport.Mmio)]
    public void Impossible_queue_sizes_and_queues_are_ignored(Transport transport)
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), transport);
        Assert.True(driver.Negotiate(VirtioFeatures.Version1));
        const ulong start = VirtioMachine.HighRamStart;
        driver.SetQueue(0, 65535, start, start + 0x2000, start + 0x4000);
        driver.SetQueue(0, 0, start, start + 0x2000, start + 0x4000);
        Assert.False(driver.EnableQueue(1));
        driver.SetQueue(0, 6, start, start + 0x2000, start + 0x4000);
        Assert.False(driver.EnableQueue(0));
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
        driver.Notify(1);
        driver.Notify(1000);
    }

    [Theory]
    [InlineData(Transport.PciMsiX, false)]
    [InlineData(Transport.PciMsiX, true)]
    [InlineData(Transport.Mmio, true)]
    public void One_queue_is_reset_alone(Transport transport, bool packed)
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), transport);
        var ring = driver.Begin(VirtioFeatures.RingReset | (packed ? VirtioFeatures.RingPacked : 0), 8)[0];
        var buffer = new Piece(_machine.Allocate(8), 8, true);
        ring.Run(buffer);
        driver.ResetQueue(0);
        ring.Add(buffer);
        driver.Notify(0);
        Assert.False(ring.TryTake(out _, out _));
        Assert.Equal(8u, driver.AddQueue(0, 16).Run(buffer));
    }

    [Fact]
    public void Nothing_happens_before_driver_ok()
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX);
        driver.Negotiate(VirtioFeatures.Version1);
        var ring = driver.AddQueue(0, 8);
        ring.Add(new Piece(_machine.Allocate(8), 8, true));
        driver.Notify(0);
        Assert.False(ring.TryTake(out _, out _));
        driver.Start();
        driver.Notify(0);
        Assert.True(ring.TryTake(out _, out _));
    }

    [Fact]
    public void Without_bus_mastering_memory_is_left_alone_and_served_afterwards()
    {
        var driver = (PciDriver)_machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX);
        var ring = driver.Begin(0, 8)[0];
        _machine.WritePci(driver.Device, 4, 2, 2);
        ring.Add(new Piece(_machine.Allocate(8), 8, true));
        driver.Notify(0);
        Assert.False(ring.TryTake(out _, out _));
        _machine.WritePci(driver.Device, 4, 2, 6);
        Assert.True(ring.TryTake(out _, out _));
        Assert.Equal(VirtioDriver.QueueVector, driver.TakeInterrupt());
    }

    [Fact]
    public void The_registers_can_be_reached_through_configuration_space()
    {
        var driver = (PciDriver)_machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX);
        var at = driver.AccessCapability;
        Access(0x12, 2);
        Assert.Equal(1u, _machine.ReadPci(driver.Device, at + 16, 2));
        Access(0x14, 1);
        _machine.WritePci(driver.Device, at + 16, 1, 1);
        Assert.Equal(1, driver.Status);
        Assert.Equal(1u, _machine.ReadPci(driver.Device, at + 16, 1));

        // Windows that cannot be are no access.
        Access(0x13, 2);
        _machine.WritePci(driver.Device, at + 16, 4, 0);
        Access(uint.MaxValue, 4);
        _machine.WritePci(driver.Device, at + 16, 4, 0);
        Access(0x14, 8);
        _machine.WritePci(driver.Device, at + 16, 4, 0);
        _machine.WritePci(driver.Device, at + 4, 1, 3);
        _machine.WritePci(driver.Device, at + 16, 4, 0);
        Assert.Equal(1, driver.Status);

        void Access(uint offset, uint length)
        {
            _machine.WritePci(driver.Device, at + 4, 1, 0);
            _machine.WritePci(driver.Device, at + 8, 4, offset);
            _machine.WritePci(driver.Device, at + 12, 4, length);
        }
    }

    [Fact]
    public void A_vector_that_is_not_there_reads_back_as_none()
    {
        var driver = (PciDriver)_machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX);
        driver.SetConfigVector(2);
        Assert.Equal(0xFFFFu, (uint)_machine.Board.Mmio.Read(driver.CommonConfiguration + 0x10, 2));
        driver.SetConfigVector(1);
        Assert.Equal(1u, (uint)_machine.Board.Mmio.Read(driver.CommonConfiguration + 0x10, 2));
    }
}
