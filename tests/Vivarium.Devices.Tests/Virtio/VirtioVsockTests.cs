using System.Net.Sockets;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>The socket device between a driver and programs of the host.</summary>
public sealed class VirtioVsockTests : IDisposable
{
    private const uint Send = 2;
    private const uint Both = 3;

    private readonly List<VsockGuest> _guests = [];

    public static TheoryData<Transport, ulong> Ways() => new()
    {
        { Transport.PciMsiX, VirtioFeatures.EventIdx },
        { Transport.PciIntX, VirtioFeatures.RingPacked },
        { Transport.Mmio, 0 },
    };

    public void Dispose()
    {
        foreach (var guest in _guests)
            guest.Dispose();
    }

    [Fact]
    public void The_configuration_tells_the_guest_its_cid()
    {
        var guest = Make();
        Assert.Equal(VsockGuest.Cid, guest.Driver.ReadConfig(0, 4));
        Assert.Equal(0u, guest.Driver.ReadConfig(4, 4));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_program_of_the_host_talks_to_a_port_of_the_guest(Transport transport, ulong features)
    {
        var guest = Make(transport, features);
        var socket = guest.Connect();

        // What follows the first line is the guest's already.
        socket.Send("CONNECT 5000\nearly"u8);
        var request = guest.Receive(VsockPacket.Request);
        Assert.Equal(5000u, request.DestinationPort);
        Assert.Null(guest.TryReceive());
        guest.Send(new(5000, request.SourcePort, VsockPacket.Response));
        Assert.Equal($"OK {request.SourcePort}\n", VsockGuest.ReadLine(socket));
        Assert.Equal("early"u8, guest.Receive(VsockPacket.Data).Payload);
        socket.Send("later"u8);
        Assert.Equal("later"u8, guest.Receive(VsockPacket.Data).Payload);
        guest.Send(new(5000, request.SourcePort, VsockPacket.Data) { Payload = "answer"u8.ToArray() });
        Assert.Equal("answer"u8, VsockGuest.Read(socket, 6));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void The_guest_talks_to_a_program_of_the_host(Transport transport, ulong features)
    {
        var guest = Make(transport, features);
        var socket = guest.ConnectFrom(1024, 80);
        guest.Send(new(1024, 80, VsockPacket.Data) { Payload = "question"u8.ToArray() });
        Assert.Equal("question"u8, VsockGuest.Read(socket, 8));
        socket.Send("answer"u8);
        Assert.Equal("answer"u8, guest.Receive(VsockPacket.Data).Payload);
    }

    [Fact]
    public void Each_end_may_close_its_half()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        guest.Send(new(5000, port, VsockPacket.Shutdown) { Flags = Send });
        Assert.Equal(0, socket.Receive(new byte[1]));
        socket.Send("still"u8);
        Assert.Equal("still"u8, guest.Receive(VsockPacket.Data).Payload);
        socket.Shutdown(SocketShutdown.Send);

        // Nobody has anything to say any more.
        Assert.Equal(Both, guest.Receive(VsockPacket.Shutdown).Flags);
        guest.Send(new(5000, port, VsockPacket.Shutdown) { Flags = Both });
        Assert.Equal(port, guest.Receive(VsockPacket.Reset).SourcePort);
    }

    [Fact]
    public void A_program_that_has_said_all_still_hears_the_guest()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        socket.Shutdown(SocketShutdown.Send);
        Assert.Equal(Send, guest.Receive(VsockPacket.Shutdown).Flags);
        guest.Send(new(5000, port, VsockPacket.Data) { Payload = "and now"u8.ToArray() });
        Assert.Equal("and now"u8, VsockGuest.Read(socket, 7));
        guest.Send(new(5000, port, VsockPacket.Shutdown) { Flags = Both });
        guest.Receive(VsockPacket.Reset);
        Assert.True(VsockGuest.IsClosed(socket));
    }

    [Fact]
    public void A_guest_that_closes_first_is_answered_by_a_reset_and_its_data_still_arrives()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);

        // More than the host's socket holds; the rest is in the device.
        var data = Pattern(5, 256 << 10);
        var sent = SendAll(guest, 5000, port, data, socket: null);
        guest.Send(new(5000, port, VsockPacket.Shutdown) { Flags = Both });
        guest.Receive(VsockPacket.Reset);
        Assert.Equal(data[..sent], VsockGuest.Read(socket, sent));
        Assert.True(VsockGuest.IsClosed(socket));

        // The port is free again, and unknown.
        guest.Send(new(5000, port, VsockPacket.Data) { Payload = [1] });
        guest.Receive(VsockPacket.Reset);
    }

    [Fact]
    public void A_program_that_goes_is_told_to_the_guest_after_its_data()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        socket.Send("last words"u8);
        socket.Close();
        Assert.Equal("last words"u8, guest.Receive(VsockPacket.Data).Payload);
        Assert.Equal(Both, guest.Receive(VsockPacket.Shutdown).Flags);

        // What the guest sends before it has heard goes nowhere, and is no offence.
        guest.Send(new(5000, port, VsockPacket.Data) { Payload = [1, 2, 3] });
        guest.Send(new(5000, port, VsockPacket.CreditRequest));
        Assert.Equal(3u, guest.Receive(VsockPacket.CreditUpdate).ForwardCount);
        guest.Send(new(5000, port, VsockPacket.Reset));
        Assert.Null(guest.TryReceive());
    }

    [Theory]
    [InlineData(VsockPacket.Request)]
    [InlineData(VsockPacket.Response)]
    [InlineData(VsockPacket.Shutdown)]
    [InlineData(VsockPacket.Data)]
    [InlineData(VsockPacket.CreditUpdate)]
    [InlineData(VsockPacket.CreditRequest)]
    [InlineData(0)]
    [InlineData(8)]
    [InlineData(0xFFFF)]
    public void What_belongs_to_no_connection_is_reset(ushort operation)
    {
        var guest = Make();
        guest.Send(new(1, 2, operation));
        var reset = guest.Receive(VsockPacket.Reset);
        Assert.Equal((2u, 1u), (reset.SourcePort, reset.DestinationPort));
    }

    [Fact]
    public void Addresses_and_types_that_nobody_has_are_reset_and_strangers_ignored()
    {
        var guest = Make();
        guest.Send(new(1, 2, VsockPacket.Reset));
        guest.Send(new(1, 2, VsockPacket.Request) { SourceCid = VsockGuest.Cid + 1 });
        guest.Send(new(1, 2, VsockPacket.Request) { DestinationCid = 99 });
        Assert.Equal(99ul, guest.Receive(VsockPacket.Reset).SourceCid);
        guest.Send(new(1, 2, VsockPacket.Request) { Type = 2 });
        Assert.Equal(2, guest.Receive(VsockPacket.Reset).Type);
        Assert.Null(guest.TryReceive());
    }

    [Theory]
    [InlineData(VsockPacket.Request)]
    [InlineData(VsockPacket.Response)]
    [InlineData(0)]
    [InlineData(77)]
    public void What_cannot_be_in_a_connection_ends_it(ushort operation)
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        guest.Send(new(5000, port, operation));
        Assert.Equal(port, guest.Receive(VsockPacket.Reset).SourcePort);
        Assert.True(VsockGuest.IsClosed(socket));
    }

    [Fact]
    public void Data_after_the_guest_said_there_would_be_none_ends_the_connection()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        guest.Send(new(5000, port, VsockPacket.Shutdown) { Flags = Send });
        guest.Send(new(5000, port, VsockPacket.Data) { Payload = [1] });
        guest.Receive(VsockPacket.Reset);
        Assert.True(VsockGuest.IsClosed(socket));
    }

    [Fact]
    public void A_guest_that_sends_more_than_there_is_room_for_is_reset()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        var packet = new VsockPacket(5000, port, VsockPacket.Data) { Payload = new byte[64 << 10] };
        VsockPacket? answer = null;
        for (var i = 0; i < 100 && answer is not { Operation: VsockPacket.Reset }; i++)
        {
            guest.Send(packet);
            answer = guest.TryReceive() ?? answer;
        }

        Assert.Equal(VsockPacket.Reset, answer?.Operation);
        socket.Dispose();
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_slow_program_gets_all_that_a_guest_with_manners_sends(Transport transport, ulong features)
    {
        var guest = Make(transport, features);
        var (socket, port) = guest.ConnectTo(5000);
        var data = Pattern(1, 2 << 20);
        byte[]? read = null;
        var reader = new Thread(() => read = VsockGuest.Read(socket, data.Length));
        reader.Start();
        Assert.Equal(data.Length, SendAll(guest, 5000, port, data, socket));
        reader.Join();
        Assert.Equal(data, read);
    }

    [Fact]
    public void The_guest_gets_no_more_than_it_has_room_for()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000, bufferAllocation: 100);
        var data = Pattern(2, 250);
        socket.Send(data);
        Assert.Equal(data[..100], guest.Receive(VsockPacket.Data).Payload);
        guest.Receive(VsockPacket.CreditRequest);

        // Nothing new: the question is not asked again.
        guest.Send(new(5000, port, VsockPacket.CreditUpdate) { BufferAllocation = 100 });
        Assert.Null(guest.TryReceive());
        guest.Send(new(5000, port, VsockPacket.CreditUpdate) { BufferAllocation = 100, ForwardCount = 99 });
        Assert.Equal(data[100..199], guest.Receive(VsockPacket.Data).Payload);
        guest.Receive(VsockPacket.CreditRequest);
        guest.Send(new(5000, port, VsockPacket.CreditUpdate) { BufferAllocation = 1000, ForwardCount = 199 });
        Assert.Equal(data[199..], guest.Receive(VsockPacket.Data).Payload);

        // Counts that cannot be are no room, or all of it, but nothing worse.
        guest.Send(new(5000, port, VsockPacket.CreditUpdate) { BufferAllocation = 10, ForwardCount = 251 });
        guest.Send(new(5000, port, VsockPacket.CreditUpdate) { BufferAllocation = uint.MaxValue, ForwardCount = uint.MaxValue });
        socket.Send("x"u8);
        Assert.Equal("x"u8, guest.Receive(VsockPacket.Data).Payload);
    }

    [Fact]
    public void The_guest_learns_of_room_before_it_has_none()
    {
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        guest.Send(new(5000, port, VsockPacket.Data) { Payload = new byte[48 << 10] });
        var update = guest.Receive(VsockPacket.CreditUpdate);
        Assert.Equal(48u << 10, update.ForwardCount);
        Assert.True(update.BufferAllocation >= 64 << 10);
        VsockGuest.Read(socket, 48 << 10);
    }

    [Theory]
    [InlineData("HELLO\n")]
    [InlineData("CONNECT\n")]
    [InlineData("CONNECT \n")]
    [InlineData("CONNECT -1\n")]
    [InlineData("CONNECT 4294967295\n")]
    [InlineData("CONNECT 4294967296\n")]
    [InlineData("CONNECT 1 2\n")]
    [InlineData("CONNECT 00000000000000000000000001\n")]
    [InlineData("\n")]
    public void Who_does_not_say_to_which_port_is_closed(string greeting)
    {
        var guest = Make();
        var socket = guest.Connect();
        socket.Send(Encoding.ASCII.GetBytes(greeting));
        Assert.True(VsockGuest.IsClosed(socket));
        Assert.Null(guest.TryReceive());
    }

    [Fact]
    public void A_greeting_may_come_in_pieces()
    {
        var guest = Make();
        var socket = guest.Connect();
        foreach (var letter in "CONNECT 4294967294\n"u8)
        {
            socket.Send([letter]);
            Thread.Yield();
        }

        Assert.Equal(4294967294u, guest.Receive(VsockPacket.Request).DestinationPort);
    }

    [Fact]
    public void A_port_that_the_guest_does_not_have_closes_the_socket()
    {
        var guest = Make();
        var socket = guest.Connect();
        socket.Send("CONNECT 9\n"u8);
        var request = guest.Receive(VsockPacket.Request);
        guest.Send(new(9, request.SourcePort, VsockPacket.Reset));
        Assert.True(VsockGuest.IsClosed(socket));
    }

    [Fact]
    public void Who_leaves_while_the_guest_is_asked_is_forgotten()
    {
        var guest = Make();
        var socket = guest.Connect();
        socket.Send("CONNECT 9\n"u8);
        var request = guest.Receive(VsockPacket.Request);
        socket.Close();
        Assert.Equal(request.SourcePort, guest.Receive(VsockPacket.Reset).SourcePort);
        guest.Send(new(9, request.SourcePort, VsockPacket.Response));
        guest.Receive(VsockPacket.Reset);
    }

    [Fact]
    public void Many_connections_keep_to_themselves()
    {
        const int many = 200;
        var guest = Make();
        var connections = Enumerable.Range(0, many).Select(i => guest.ConnectTo((uint)(i % 7))).ToArray();
        Assert.Equal(many, connections.Select(connection => connection.HostPort).Distinct().Count());
        for (var i = 0; i < many; i++)
            guest.Send(new((uint)(i % 7), connections[i].HostPort, VsockPacket.Data) { Payload = BitConverter.GetBytes(i) });
        for (var i = 0; i < many; i++)
        {
            Assert.Equal(BitConverter.GetBytes(i), VsockGuest.Read(connections[i].Socket, 4));
            connections[i].Socket.Send(BitConverter.GetBytes(~i));
        }

        var answers = Enumerable.Range(0, many).Select(_ => guest.Receive(VsockPacket.Data)).ToDictionary(packet => packet.SourcePort);
        for (var i = 0; i < many; i++)
            Assert.Equal(BitConverter.GetBytes(~i), answers[connections[i].HostPort].Payload);
    }

    [Fact]
    public void There_is_an_end_to_connections_but_those_that_are_over_do_not_count()
    {
        var guest = Make();
        var listener = guest.Listen(80);
        listener.Listen(16);
        var accepted = new List<Socket>();
        for (uint i = 0; i < VirtioVsock.MaxConnections; i++)
        {
            guest.Send(new(i, 80, VsockPacket.Request));
            guest.Receive(VsockPacket.Response);
            accepted.Add(listener.Accept());
        }

        guest.Send(new(99_999, 80, VsockPacket.Request));
        guest.Receive(VsockPacket.Reset);
        accepted[5].Close();
        Assert.Equal(5u, guest.Receive(VsockPacket.Shutdown).DestinationPort);

        // The guest has not answered yet; its connection makes room.
        guest.Send(new(99_999, 80, VsockPacket.Request));
        Assert.Equal(5u, guest.Receive(VsockPacket.Reset).DestinationPort);
        Assert.Equal(99_999u, guest.Receive(VsockPacket.Response).DestinationPort);
        foreach (var socket in accepted)
            socket.Dispose();
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_guest_without_receive_buffers_has_to_wait_and_loses_nothing(Transport transport, ulong features)
    {
        const int packets = 600;
        var guest = Make(transport, features, receiveBuffers: false);
        var sent = 0;
        guest.SendLater(new(0, 9, VsockPacket.Data));
        while (guest.Transmits.TryTake(out _, out _))
            guest.SendLater(new((uint)++sent, 9, VsockPacket.Data));
        Assert.InRange(sent, 1, packets);

        // With buffers it goes on by itself.
        guest.AddBuffers(8);
        var received = 0;
        guest.AwaitSent();
        for (sent++; sent < packets; sent++)
        {
            guest.SendLater(new((uint)sent, 9, VsockPacket.Data));
            VsockGuest.Await(
                () =>
                {
                    if (guest.TryReceive() is { } early)
                        Assert.Equal((uint)received++, early.DestinationPort);
                    return guest.Transmits.TryTake(out _, out _);
                },
                "the device has stopped");
        }

        while (received < packets)
            Assert.Equal((uint)received++, guest.Receive(VsockPacket.Reset).DestinationPort);
    }

    [Theory]
    [InlineData(43, "has no header")]
    [InlineData(44, "shorter")]
    public void A_packet_that_is_cut_off_breaks_the_device(int length, string why)
    {
        var said = "";
        var guest = Make();
        guest.Device.Broken = sentence => said = sentence;
        var (socket, port) = guest.ConnectTo(5000);
        var packet = new VsockPacket(5000, port, VsockPacket.Data) { Length = 1 }.ToBytes();
        var buffer = guest.Machine.Put(packet);
        guest.Transmits.Add(new Piece(buffer, length, false));
        guest.Transmits.Kick();
        Assert.NotEqual(0, guest.Driver.Status & VirtioDriver.NeedsReset);
        Assert.Contains(why, said, StringComparison.Ordinal);
        Assert.True(VsockGuest.IsClosed(socket));
    }

    [Theory]
    [InlineData(43)]
    [InlineData(44)]
    public void A_receive_buffer_that_holds_nothing_breaks_the_device(int length)
    {
        var guest = Make(receiveBuffers: false);
        guest.Receives.Add(new Piece(guest.Machine.Allocate(64), length, true));
        guest.Receives.Kick();
        if (length == 43)
        {
            guest.Send(new(1, 2, VsockPacket.Data));
        }
        else
        {
            var listener = guest.Listen(80);
            guest.Send(new(1, 80, VsockPacket.Request));
            using var socket = listener.Accept();
            guest.Receives.Add(new Piece(guest.Machine.Allocate(64), length, true));
            guest.Receives.Kick();
            try
            {
                socket.Send("x"u8);
            }
            catch (SocketException)
            {
                // The device has noticed already, and hung up.
            }
        }

        VsockGuest.Await(() => (guest.Driver.Status & VirtioDriver.NeedsReset) != 0, "the device has not noticed");
    }

    [Fact]
    public void Reset_closes_all_sockets_and_the_next_driver_starts_afresh()
    {
        var guest = Make();
        var (socket, _) = guest.ConnectTo(5000);
        guest.Driver.Status = 0;
        Assert.True(VsockGuest.IsClosed(socket));

        // Without a driver nobody would ever answer.
        Assert.True(VsockGuest.IsClosed(guest.Connect()));
        guest.Begin();
        guest.ConnectTo(5000);
    }

    [Fact]
    public void A_restored_guest_is_told_that_its_connections_are_gone()
    {
        var guest = Make();
        guest.ConnectTo(5000);
        var state = guest.Device.Save();
        guest.Device.Restore(state);
        var buffer = guest.Machine.Allocate(8);
        guest.Machine.Memory.Write(buffer, ulong.MaxValue);
        Assert.Equal(4u, guest.Events.Run(new Piece(buffer, 8, true)));
        Assert.Equal(0u, guest.Machine.Memory.Read<uint>(buffer));
        Assert.Throws<InvalidDataException>(() => guest.Device.Restore(state with { Cid = 99 }));
    }

    [Fact]
    public async Task Packets_do_not_overtake_each_other_when_several_processors_notify()
    {
        const int packets = 3000;
        var guest = Make();
        var (socket, port) = guest.ConnectTo(5000);
        using var stop = new CancellationTokenSource();
        var other = Task.Run(
            () =>
            {
                while (!stop.IsCancellationRequested)
                    guest.Device.Notify(1);
            },
            TestContext.Current.CancellationToken);
        var read = Task.Run(() => VsockGuest.Read(socket, packets * 4), TestContext.Current.CancellationToken);
        var buffers = Enumerable.Range(0, 32).Select(_ => guest.Machine.Allocate(64)).ToArray();
        for (var i = 0; i < packets; i += 32)
        {
            var count = Math.Min(32, packets - i);
            for (var j = 0; j < count; j++)
            {
                guest.Machine.Memory.Write(buffers[j], new VsockPacket(5000, port, VsockPacket.Data) { Payload = BitConverter.GetBytes(i + j) }.ToBytes());
                guest.Transmits.Add(new Piece(buffers[j], VsockPacket.HeaderLength + 4, false));
            }

            guest.Device.Notify(1);
            for (var j = 0; j < count; j++)
                guest.AwaitSent();
        }

        var bytes = await read;
        await stop.CancelAsync();
        await other;
        for (var i = 0; i < packets; i++)
            Assert.Equal(i, BitConverter.ToInt32(bytes, i * 4));
    }

    private VsockGuest Make(Transport transport = Transport.PciMsiX, ulong features = 0, bool receiveBuffers = true)
    {
        var guest = new VsockGuest(transport, features, receiveBuffers);
        _guests.Add(guest);
        return guest;
    }

    /// <summary>Sends as a driver does that knows how much room there is; without a reader, as much as there is room for.</summary>
    private static int SendAll(VsockGuest guest, uint guestPort, uint hostPort, byte[] data, Socket? socket)
    {
        const uint room = 128 << 10;
        uint forwarded = 0;
        var sent = 0;
        while (sent < data.Length)
        {
            var left = (int)(room - ((uint)sent - forwarded));
            if (guest.TryReceive() is { } update)
            {
                Assert.Equal(VsockPacket.CreditUpdate, update.Operation);
                Assert.Equal(room, update.BufferAllocation);
                forwarded = update.ForwardCount;
            }
            else if (left == 0)
            {
                if (socket is null)
                    return sent;
                Thread.Sleep(0);
            }
            else
            {
                var length = Math.Min(Math.Min(left, data.Length - sent), 50_000);
                guest.Send(new(guestPort, hostPort, VsockPacket.Data) { Payload = data[sent..(sent + length)] });
                sent += length;
            }
        }

        return sent;
    }

    private static byte[] Pattern(int seed, int length)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }
}
