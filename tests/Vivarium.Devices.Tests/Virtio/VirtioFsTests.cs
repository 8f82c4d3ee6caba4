using System.Text;

namespace Vivarium.Devices.Tests;

public sealed class VirtioFsTests : IDisposable
{
    private const int HighPriority = 0;
    private const int Request = 1;

    private readonly VirtioMachine _machine = new();
    private readonly TestFileSystem _files;

    public VirtioFsTests() => _files = new TestFileSystem(_machine.Memory);

    public static TheoryData<Transport, bool> Ways => new()
    {
        { Transport.PciMsiX, false },
        { Transport.PciMsiX, true },
        { Transport.PciIntX, true },
        { Transport.Mmio, false },
    };

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData("work")]
    [InlineData("exactly thirty-six bytes as they say")]
    [InlineData("Ünïcödé")]
    public void The_configuration_tells_the_tag_and_one_request_queue(string tag)
    {
        var driver = _machine.Plug(new VirtioFs(_machine.Memory, _files, tag), Transport.PciMsiX);
        var told = Enumerable.Range(0, VirtioFs.MaxTag).Select(i => (byte)driver.ReadConfig(i, 1)).ToArray();
        Assert.Equal(tag, Encoding.UTF8.GetString(told).TrimEnd('\0'));
        Assert.Equal(1u, driver.ReadConfig(VirtioFs.MaxTag, 4));
        Assert.NotEqual(0, driver.QueueSizeMax(HighPriority));

        // A mebibyte in pages, with headers, in one request.
        Assert.True(driver.QueueSizeMax(Request) > 256 + 4);
        Assert.Equal(0, driver.QueueSizeMax(2));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Requests_are_answered_on_both_queues_and_interrupt(Transport transport, bool packed)
    {
        var driver = _machine.Plug(new VirtioFs(_machine.Memory, _files, "t"), transport);
        var rings = driver.Begin(packed ? VirtioFeatures.RingPacked : 0, 16, 16);
        for (var i = 0; i < 100; i++)
        {
            var queue = i % 2;
            var text = Encoding.ASCII.GetBytes($"request {i}");
            var asked = _machine.Put(text);
            var answer = _machine.Allocate(20);
            rings[queue].InterruptAfter(0);
            var used = rings[queue].Run(new Piece(asked, 3, false), new Piece(asked + 3, text.Length - 3, false), new Piece(answer, 5, true), new Piece(answer + 5, 15, true));
            Assert.Equal((uint)text.Length, used);
            Assert.Equal(text, _machine.Get(answer, text.Length));
            Assert.Equal(transport == Transport.PciMsiX ? VirtioDriver.QueueVector + queue : VirtioDriver.QueueVector, driver.TakeInterrupt());
        }
    }

    [Fact]
    public void What_has_no_answer_is_given_back_unwritten()
    {
        var rings = Begin();
        Assert.Equal(0u, rings[HighPriority].Run(new Piece(_machine.Put([TestFileSystem.Silent, 1, 2]), 3, false)));
        var answer = _machine.Put([1, 2, 3]);
        Assert.Equal(0u, rings[Request].Run(new Piece(_machine.Put([TestFileSystem.Silent]), 1, false), new Piece(answer, 3, true)));
        Assert.Equal([1, 2, 3], _machine.Get(answer, 3));
        Assert.Equal(0u, rings[Request].Run(new Piece(answer, 3, true)));
        Assert.Equal(3, _files.Requests);
    }

    [Fact]
    public void What_waits_keeps_nobody_else_waiting()
    {
        var rings = Begin();
        _files.Gate.Reset();
        var slow = _machine.Put([TestFileSystem.Slow, 42]);
        var slowAnswer = _machine.Allocate(2);

        // More than there are threads.
        for (var i = 0; i < 6; i++)
            rings[Request].Add(new Piece(slow, 2, false), new Piece(slowAnswer, 2, true));
        rings[Request].Kick();
        Assert.False(rings[Request].TryTake(out _, out _));
        var quick = _machine.Put("quick"u8);
        var answer = _machine.Allocate(5);
        Assert.Equal(5u, rings[Request].Run(new Piece(quick, 5, false), new Piece(answer, 5, true)));
        Assert.Equal("quick"u8.ToArray(), _machine.Get(answer, 5));

        _files.Gate.Set();
        for (var i = 0; i < 6; i++)
        {
            uint length;
            while (!rings[Request].TryTake(out _, out length))
                Thread.Sleep(1);
            Assert.Equal(2u, length);
        }

        Assert.Equal(42, _machine.Get(slowAnswer, 2)[1]);
    }

    [Fact]
    public void Reset_forgets_everything_once_nothing_is_under_way()
    {
        var device = new VirtioFs(_machine.Memory, _files, "t");
        var driver = _machine.Plug(device, Transport.PciMsiX);
        var rings = driver.Begin(0, 16, 16);
        var before = _files.Resets;
        _files.Gate.Reset();
        rings[Request].Add(new Piece(_machine.Put([TestFileSystem.Slow]), 1, false), new Piece(_machine.Allocate(1), 1, true));
        rings[Request].Kick();
        var reset = new Thread(() => driver.Status = 0);
        reset.Start();
        while (device.Queues[Request].Enabled)
            Thread.Sleep(1);
        Assert.Equal(before, _files.Resets);
        _files.Gate.Set();
        reset.Join();
        Assert.Equal(before + 1, _files.Resets);
        Assert.False(_files.ResetTooEarly);

        rings = driver.Begin(0, 16, 16);
        Assert.Equal(1u, rings[Request].Run(new Piece(_machine.Put([7]), 1, false), new Piece(_machine.Allocate(1), 1, true)));
    }

    [Fact]
    public void A_device_goes_on_where_another_stopped_but_its_backend_begins_anew()
    {
        var device = new VirtioFs(_machine.Memory, _files, "t");
        var driver = _machine.Plug(device, Transport.PciMsiX);
        var rings = driver.Begin(VirtioFeatures.RingPacked, 16, 16);
        Assert.Equal(1u, rings[Request].Run(new Piece(_machine.Put([7]), 1, false), new Piece(_machine.Allocate(1), 1, true)));
        var state = device.Save();

        var resets = _files.Resets;
        device.Restore(state);
        Assert.Equal(resets + 1, _files.Resets);
        Assert.Equal(1u, rings[Request].Run(new Piece(_machine.Put([7]), 1, false), new Piece(_machine.Allocate(1), 1, true)));
        Assert.Equal(state.Device!.Queues.Length, device.Save().Device!.Queues.Length);
        Assert.Throws<InvalidDataException>(() => device.Restore(state with { Version = 2 }));
        Assert.Throws<InvalidDataException>(() => device.Restore(new VirtioFsState()));
        Assert.Throws<InvalidDataException>(() => device.Restore(new VirtioFsState { Device = new() }));
    }

    private GuestRing[] Begin() => _machine.Plug(new VirtioFs(_machine.Memory, _files, "t"), Transport.PciMsiX).Begin(0, 16, 16);
}
