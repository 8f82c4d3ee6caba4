using Vivarium.Memory;
using Xunit;

namespace Vivarium.Devices.Tests;

/// <summary>Reset of a device that still works on buffers of the old driver (virtio 1.2, 2.4).</summary>
public sealed class VirtioResetTests : IDisposable
{
    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void What_goes_wrong_during_a_reset_is_forgotten_with_it()
    {
        var device = new Holder(_machine.Memory) { Broken = _ => Assert.Fail("nobody is to be told") };
        var driver = _machine.Plug(device, Transport.Mmio);
        var ring = driver.Begin(0, 16)[0];
        ring.Add(new Piece(_machine.Put([0]), 1, true));
        ring.Kick();
        var reset = new Thread(() => driver.Status = 0);
        reset.Start();
        Assert.False(reset.Join(20));
        device.Complain();
        device.Release();
        reset.Join();
        Assert.Equal(0, driver.Status);
    }

    /// <summary>Keeps its buffer until it is told to give it back.</summary>
    private sealed class Holder(GuestMemory memory) : VirtioDevice(VirtioDeviceType.Entropy, 0, memory, 0, 16)
    {
        private VirtqueueChain? _held;

        public void Complain() => NeedReset("a buffer of the old driver is wrong");

        public void Release() => Queues[0].Push(_held!, 0);

        protected override void Serve(Virtqueue queue, VirtqueueChain chain) => _held = chain;
    }
}
