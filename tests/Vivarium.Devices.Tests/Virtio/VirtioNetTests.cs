using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

public sealed class VirtioNetTests : IDisposable
{
    private const ulong Csum = 1ul << 0;
    private const ulong GuestCsum = 1ul << 1;
    private const ulong CtrlGuestOffloads = 1ul << 2;
    private const ulong MtuBit = 1ul << 3;
    private const ulong GuestTso4 = 1ul << 7;
    private const ulong HostTso4 = 1ul << 11;
    private const ulong MrgRxbuf = 1ul << 15;
    private const ulong CtrlVq = 1ul << 17;
    private const ulong CtrlVlan = 1ul << 19;
    private const int HeaderLength = 12;
    private const byte Ok = 0;
    private const byte Error = 1;
    private static readonly byte[] Mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    private readonly VirtioMachine _machine = new();
    private readonly TestNetwork _network;
    private VirtioDriver? _driver;

    public VirtioNetTests() => _network = new(_machine.Memory);

    public static TheoryData<Transport, bool, bool> Ways()
    {
        var ways = new TheoryData<Transport, bool, bool>();
        foreach (var transport in Enum.GetValues<Transport>())
        {
            for (var i = 0; i < 4; i++)
                ways.Add(transport, (i & 1) != 0, (i & 2) != 0);
        }
        return ways;
    }

    public void Dispose() => _machine.Dispose();

    [Theory]
    [MemberData(nameof(Ways))]
    public void Frames_go_out_and_come_in_over_any_ring(Transport transport, bool packed, bool eventIndex)
    {
        var (driver, rings) = Begin(MrgRxbuf | (packed ? VirtioFeatures.RingPacked : 0) | (eventIndex ? VirtioFeatures.EventIdx : 0), transport);
        for (var i = 0; i < 100; i++)
        {
            var frame = Frame(60 + i);
            rings[1].Run(new Piece(_machine.Put(new byte[HeaderLength]), HeaderLength, false), new(_machine.Put(frame), frame.Length, false));
            Assert.Equal(frame, _network.Sent[^1].Frame);

            var buffer = _machine.Allocate(2000);
            var id = rings[0].Add(new Piece(buffer, 2000, true));
            rings[0].Kick();
            rings[0].InterruptAfter(0);
            while (driver.TakeInterrupt() != 0)
            {
            }
            Assert.True(_network.Bring(frame));
            Assert.Equal(VirtioDriver.QueueVector, driver.TakeInterrupt());
            Assert.True(rings[0].TryTake(out var used, out var written));
            Assert.Equal(id, used);
            Assert.Equal((uint)(HeaderLength + frame.Length), written);
            Assert.Equal(1, _machine.Memory.Read<ushort>(buffer + 10));
            Assert.Equal(frame, _machine.Get(buffer + HeaderLength, frame.Length));
        }
    }

    [Fact]
    public void The_configuration_names_the_address_the_link_and_the_mtu()
    {
        var (driver, _) = Begin(MtuBit);
        for (var i = 0; i < Mac.Length; i++)
            Assert.Equal(Mac[i], driver.ReadConfig(i, 1));
        Assert.Equal(1u, driver.ReadConfig(6, 2));
        Assert.Equal(9000u, driver.ReadConfig(10, 2));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_large_frame_fills_several_buffers_which_come_back_in_order(bool packed)
    {
        var (_, rings) = Begin(MrgRxbuf | (packed ? VirtioFeatures.RingPacked : 0));
        var addresses = new Dictionary<int, ulong>();
        for (var i = 0; i < 8; i++)
        {
            var address = _machine.Allocate(1000);
            addresses[rings[0].Add(new Piece(address, 1000, true))] = address;
        }
        rings[0].Kick();
        var frame = Frame(3500);
        Assert.True(_network.Bring(frame));
        var received = new List<byte>();
        while (rings[0].TryTake(out var id, out var written))
            received.AddRange(_machine.Get(addresses[id], (int)written));
        Assert.Equal(4, BinaryPrimitives.ReadUInt16LittleEndian(received.ToArray().AsSpan(10)));
        Assert.Equal(frame, received.Skip(HeaderLength));
    }

    [Fact]
    public void Without_merging_a_frame_that_does_not_fit_is_dropped_and_its_buffer_kept()
    {
        var (_, rings) = Begin(0);
        var buffer = _machine.Allocate(100);
        var id = rings[0].Add(new Piece(buffer, 100, true));
        rings[0].Kick();
        Assert.True(_network.Bring(Frame(89)));
        Assert.False(rings[0].TryTake(out _, out _));
        Assert.True(_network.Bring(Frame(88)));
        Assert.True(rings[0].TryTake(out var used, out _));
        Assert.Equal(id, used);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_guest_without_buffers_refuses_and_says_when_it_has_some(bool eventIndex)
    {
        var (_, rings) = Begin(MrgRxbuf | (eventIndex ? VirtioFeatures.EventIdx : 0));
        var ready = _network.ReadyCalls;
        var frame = Frame(1500);
        Assert.False(_network.Bring(frame));

        // One buffer is not enough: it stays with the driver, and the next one is told of.
        rings[0].Add(new Piece(_machine.Allocate(1000), 1000, true));
        Assert.True(rings[0].Kick());
        Assert.Equal(ready + 1, _network.ReadyCalls);
        Assert.False(_network.Bring(frame));
        Assert.False(rings[0].TryTake(out _, out _));
        rings[0].Add(new Piece(_machine.Allocate(1000), 1000, true));
        Assert.True(rings[0].Kick());
        Assert.Equal(ready + 2, _network.ReadyCalls);
        Assert.True(_network.Bring(frame));
        Assert.True(rings[0].TryTake(out _, out var first));
        Assert.True(rings[0].TryTake(out _, out var second));
        Assert.Equal((uint)(HeaderLength + frame.Length), first + second);

        // Nobody waits now: new buffers need no notification.
        rings[0].Add(new Piece(_machine.Allocate(1000), 1000, true));
        Assert.False(rings[0].MustNotify());
    }

    [Fact]
    public void Offloads_go_to_the_network_only_if_agreed_on()
    {
        var (_, rings) = Begin(Csum | HostTso4);
        Send(rings[1], new() { Flags = FrameOffload.NeedsChecksum, GsoType = FrameOffload.GsoTcpV4, GsoSize = 1460, ChecksumStart = 34, ChecksumOffset = 16 });
        Assert.Equal(1460, Assert.Single(_network.Sent).Offload.GsoSize);
        Send(rings[1], new() { Flags = FrameOffload.NeedsChecksum, GsoType = FrameOffload.GsoTcpV6, GsoSize = 1440 });
        Send(rings[1], new() { GsoType = 3 });
        Assert.Single(_network.Sent);

        (_, rings) = Begin(0);
        Send(rings[1], new() { Flags = FrameOffload.NeedsChecksum });
        Assert.Single(_network.Sent);
    }

    [Fact]
    public void The_guest_gets_offloaded_frames_only_if_it_takes_them()
    {
        var large = new FrameOffload { Flags = FrameOffload.NeedsChecksum, GsoType = FrameOffload.GsoTcpV4, GsoSize = 1460 };
        var (_, rings) = Begin(MrgRxbuf | GuestCsum | GuestTso4 | CtrlVq | CtrlGuestOffloads, controls: true);
        Assert.Equal(NetworkOffloads.Checksum | NetworkOffloads.Tso4, _network.Accepted);
        Assert.Equal(large, ReceiveOne(rings[0], large));
        Assert.Null(ReceiveOne(rings[0], large with { GsoType = FrameOffload.GsoTcpV6 }));

        Assert.Equal(Ok, Control(rings[2], 5, 0, BitConverter.GetBytes(GuestCsum)));
        Assert.Equal(NetworkOffloads.Checksum, _network.Accepted);
        Assert.Null(ReceiveOne(rings[0], large));
        Assert.NotNull(ReceiveOne(rings[0], large with { GsoType = FrameOffload.GsoNone }));
        Assert.Equal(Error, Control(rings[2], 5, 0, BitConverter.GetBytes(GuestCsum | 1ul << 8)));
    }

    [Fact]
    public void A_guest_that_verifies_checksums_itself_is_told_of_none()
    {
        var (_, rings) = Begin(MrgRxbuf);
        Assert.Equal(new FrameOffload(), ReceiveOne(rings[0], new() { Flags = FrameOffload.DataValid }));
        Assert.Null(ReceiveOne(rings[0], new() { Flags = FrameOffload.NeedsChecksum }));
    }

    [Fact]
    public void Filters_follow_the_control_queue()
    {
        var (driver, rings) = Begin(MrgRxbuf | CtrlVq | CtrlVlan | 1ul << 18 | 1ul << 23, controls: true);
        byte[] other = [0x52, 0x54, 0, 0, 0, 1];
        byte[] group = [0x33, 0x33, 0, 0, 0, 1];
        Assert.True(Reaches(rings[0], other));

        Assert.Equal(Ok, Control(rings[2], 0, 0, [0]));
        Assert.False(Reaches(rings[0], other));
        Assert.True(Reaches(rings[0], Mac));
        Assert.True(Reaches(rings[0], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]));
        Assert.False(Reaches(rings[0], group));
        Assert.Equal(Ok, Control(rings[2], 0, 1, [1]));
        Assert.True(Reaches(rings[0], group));
        Assert.Equal(Ok, Control(rings[2], 1, 0, [1, 0, 0, 0, .. other, 0, 0, 0, 0]));
        Assert.True(Reaches(rings[0], other));

        Assert.Equal(Ok, Control(rings[2], 1, 1, [0x52, 0x54, 0, 0, 0, 9]));
        Assert.Equal(9u, driver.ReadConfig(5, 1));
        Assert.False(Reaches(rings[0], Mac));
        Assert.Equal(Error, Control(rings[2], 1, 1, group));

        // As many addresses as fit no table: then all are received for.
        Assert.Equal(Ok, Control(rings[2], 1, 0, [100, 0, 0, 0, .. new byte[600], 0, 0, 0, 0]));
        Assert.True(Reaches(rings[0], Mac));

        byte[] tag = [0x81, 0x00, 0x00, 0x05, 8, 0];
        Assert.False(Reaches(rings[0], [.. Mac, .. Mac, .. tag]));
        Assert.Equal(Ok, Control(rings[2], 2, 0, [5, 0]));
        Assert.True(Reaches(rings[0], [.. Mac, .. Mac, .. tag]));
        Assert.Equal(Ok, Control(rings[2], 2, 1, [5, 0]));
        Assert.False(Reaches(rings[0], [.. Mac, .. Mac, .. tag]));
    }

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(0, 9, 1)]
    [InlineData(1, 0, 3)]
    [InlineData(1, 0, 8)]
    [InlineData(1, 1, 5)]
    [InlineData(2, 0, 1)]
    [InlineData(3, 0, 0)]
    [InlineData(4, 0, 2)]
    [InlineData(5, 0, 8)]
    public void A_command_that_is_short_or_unknown_is_answered_with_an_error(byte type, byte command, int length)
    {
        var (_, rings) = Begin(CtrlVq, controls: true);
        var data = new byte[length];
        data.AsSpan().Fill(0xFF);
        Assert.Equal(Error, Control(rings[2], type, command, data));
    }

    [Fact]
    public void A_reset_forgets_what_the_driver_has_set_and_a_saved_state_brings_it_back()
    {
        var device = new VirtioNet(_machine.Memory, _network, Mac);
        var driver = _machine.Plug(device, Transport.Mmio);
        var rings = driver.Begin(MrgRxbuf | CtrlVq | 1ul << 18 | 1ul << 23 | GuestCsum, 16, 16, 16);
        Assert.Equal(Ok, Control(rings[2], 1, 1, [2, 0, 0, 0, 0, 7]));
        Assert.Equal(Ok, Control(rings[2], 0, 0, [0]));
        var state = device.Save();
        driver.Status = 0;
        Assert.Equal(Mac[5], driver.ReadConfig(5, 1));
        Assert.Equal(NetworkOffloads.None, _network.Accepted);

        device.Restore(state);
        Assert.Equal(7u, driver.ReadConfig(5, 1));
        Assert.Equal(NetworkOffloads.Checksum, _network.Accepted);
        Assert.False(Reaches(rings[0], Mac));
        Assert.True(Reaches(rings[0], [2, 0, 0, 0, 0, 7]));
        Assert.Throws<InvalidDataException>(() => device.Restore(state with { Mac = [1] }));
        Assert.Throws<InvalidDataException>(() => device.Restore(state with { Vlans = [] }));
        Assert.Throws<InvalidDataException>(() => device.Restore(state with { MacTable = new byte[7] }));
    }

    [Fact]
    public void A_packet_without_a_header_breaks_the_device_and_nothing_else()
    {
        var (driver, rings) = Begin(0);
        rings[1].Add(new Piece(_machine.Allocate(11), 11, false));
        rings[1].Kick();
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
        Assert.True(_network.Bring(Frame(60)));
        Begin(0);
    }

    private (VirtioDriver Driver, GuestRing[] Rings) Begin(ulong features, Transport transport = Transport.Mmio, bool controls = false)
    {
        _driver ??= _machine.Plug(new VirtioNet(_machine.Memory, _network, Mac), transport);
        int[] sizes = controls ? [16, 16, 16] : [16, 16];
        return (_driver, _driver.Begin(features, sizes));
    }

    private void Send(GuestRing ring, FrameOffload offload)
    {
        var header = new byte[HeaderLength];
        System.Runtime.InteropServices.MemoryMarshal.Write(header, in offload);
        ring.Run(new Piece(_machine.Put(header), HeaderLength, false), new(_machine.Put(Frame(60)), 60, false));
    }

    /// <summary>What the guest is told of a frame; null if it does not get it.</summary>
    private FrameOffload? ReceiveOne(GuestRing ring, FrameOffload offload, byte[]? frame = null)
    {
        var buffer = _machine.Allocate(2000);
        ring.Add(new Piece(buffer, 2000, true));
        ring.Kick();
        Assert.True(_network.Bring(frame ?? Frame(60), offload));
        return ring.TryTake(out _, out _) ? _machine.Memory.Read<FrameOffload>(buffer) : null;
    }

    private bool Reaches(GuestRing ring, byte[] start) => ReceiveOne(ring, default, [.. start, .. new byte[60]]) is not null;

    private byte Control(GuestRing ring, byte type, byte command, byte[] data)
    {
        var acknowledgment = _machine.Put([0x55]);
        ring.Run([
            new(_machine.Put([type, command]), 2, false),
            .. data.Length == 0 ? (Piece[])[] : [new(_machine.Put(data), data.Length, false)],
            new(acknowledgment, 1, true)]);
        return _machine.Memory.Read<byte>(acknowledgment);
    }

    private static byte[] Frame(int length)
    {
        var frame = new byte[length];
        new Random(length).NextBytes(frame);
        Mac.CopyTo(frame, 0);
        frame[12] = 8;
        return frame;
    }
}
