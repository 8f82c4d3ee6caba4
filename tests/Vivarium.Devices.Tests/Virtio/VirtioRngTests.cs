namespace Vivarium.Devices.Tests;

public sealed class VirtioRngTests : IDisposable
{
    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(Transport.PciMsiX, false)]
    [InlineData(Transport.PciIntX, true)]
    [InlineData(Transport.Mmio, false)]
    public void It_fills_buffers_with_what_does_not_repeat(Transport transport, bool packed)
    {
        var ring = _machine.Plug(new VirtioRng(_machine.Memory), transport).Begin(packed ? VirtioFeatures.RingPacked : 0, 8)[0];
        var first = _machine.Allocate(64);
        var second = _machine.Allocate(64);
        Assert.Equal(64u, ring.Run(new Piece(first, 32, true), new Piece(first + 32, 32, true)));
        Assert.Equal(64u, ring.Run(new Piece(second, 64, true)));
        Assert.NotEqual(_machine.Get(first, 64), _machine.Get(second, 64));
        Assert.NotEqual(new byte[32], _machine.Get(first + 32, 32));
    }

    [Fact]
    public void A_greedy_driver_gets_a_page()
    {
        var ring = _machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX).Begin(0, 8)[0];
        var buffer = _machine.Allocate(10000);
        Assert.Equal(4096u, ring.Run(new Piece(buffer, 5, true), new Piece(buffer + 5, 9995, true)));
        Assert.Equal(new byte[5904], _machine.Get(buffer + 4096, 5904));
    }

    [Fact]
    public void A_buffer_that_cannot_be_written_breaks_the_device()
    {
        var driver = _machine.Plug(new VirtioRng(_machine.Memory), Transport.PciMsiX);
        var ring = driver.Begin(0, 8)[0];
        ring.Add(new Piece(_machine.Allocate(64), 64, false));
        ring.Kick();
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
    }
}
