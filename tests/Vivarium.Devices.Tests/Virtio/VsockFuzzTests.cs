using System.Net.Sockets;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>
/// A driver with sound rings that sends any packets, beside host programs that do anything. The device keeps its own
/// promises: its packets are whole, go to the guest, carry no more than there is room for; and in the end it works.
/// </summary>
public sealed class VsockFuzzTests(ITestOutputHelper output)
{
    private const int Packets = 20_000;
    private const int Ports = 4;
    private const uint LastPort = 77;
    private const uint FirstDynamicPort = 1u << 30;

    private readonly Dictionary<(uint Guest, uint Host), uint> _sent = [];
    private readonly HashSet<(uint Guest, uint Host)> _requested = [];
    private int _received;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void It_survives_20_000_random_packets(int seed)
    {
        var random = new Random(seed);
        using var guest = new VsockGuest();
        using var listener = guest.Listen(1);
        listener.Blocking = false;
        var programs = new List<Socket>();
        for (var i = 0; i < Packets; i++)
        {
            Meddle(random, guest, listener, programs);
            guest.SendLater(RandomPacket(random));
            VsockGuest.Await(
                () =>
                {
                    while (guest.TryReceive() is { } packet)
                        Check(packet);
                    return guest.Transmits.TryTake(out _, out _);
                },
                "the device has stopped");
        }

        foreach (var program in programs)
            program.Dispose();
        AwaitProgramsBefore(guest);
        output.WriteLine($"{Packets} packets, {_received} received");
        Assert.True(_received > Packets / 10);
        Assert.Equal(0, guest.Driver.Status & VirtioDriver.NeedsReset);
        guest.Begin();
        guest.ConnectTo(5);
        Assert.NotNull(guest.ConnectFrom(9, 9));
    }

    /// <summary>Programs that have gone may still wait to be accepted; what they ask for is not to meet the driver that comes next.</summary>
    private void AwaitProgramsBefore(VsockGuest guest)
    {
        guest.Connect().Send(Encoding.ASCII.GetBytes($"CONNECT {LastPort}\n"));
        VsockGuest.Await(
            () =>
            {
                var last = false;
                while (guest.TryReceive() is { } packet)
                {
                    Check(packet);
                    last |= packet is { Operation: VsockPacket.Request, DestinationPort: LastPort };
                }

                return last;
            },
            "a program is not accepted");
    }

    private VsockPacket RandomPacket(Random random)
    {
        // Mostly of a connection that is there.
        var (guestPort, hostPort) = _requested.Count != 0 && random.Next(2) == 0
            ? _requested.ElementAt(random.Next(_requested.Count))
            : ((uint)random.Next(Ports), (uint)random.Next(3));
        var operation = (ushort)(random.Next(4) == 0 ? random.Next(10) : random.Next(3) == 0 ? VsockPacket.Response : VsockPacket.Data);
        if (hostPort == 1 && random.Next(2) == 0)
            operation = VsockPacket.Request;
        return new(guestPort, hostPort, operation)
        {
            SourceCid = random.Next(50) == 0 ? (ulong)random.NextInt64() : VsockGuest.Cid,
            DestinationCid = random.Next(50) == 0 ? (ulong)random.NextInt64() : 2,
            Type = (ushort)(random.Next(50) == 0 ? random.Next(4) : 1),
            Flags = (uint)(random.Next(20) == 0 ? random.Next() : random.Next(3)),
            BufferAllocation = random.Next(10) == 0 ? (uint)random.Next() : 1 << 16,
            ForwardCount = random.Next(10) == 0 ? (uint)random.Next() : _sent.GetValueOrDefault((guestPort, hostPort)),
            Payload = new byte[operation == VsockPacket.Data ? random.Next(random.Next(10) == 0 ? 65_000 : 100) : 0],
        };
    }

    private void Check(VsockPacket packet)
    {
        _received++;
        var key = (packet.DestinationPort, packet.SourcePort);
        if (packet.Operation == VsockPacket.Reset)
        {
            _sent.Remove(key);
            _requested.Remove(key);
            return;
        }

        Assert.Equal((2ul, (ushort)1), (packet.SourceCid, packet.Type));
        Assert.InRange(packet.Operation, VsockPacket.Request, VsockPacket.CreditRequest);
        Assert.True(packet.Payload.Length == 0 || packet.Operation == VsockPacket.Data);
        if (packet.Operation == VsockPacket.Request)
        {
            Assert.True(packet.SourcePort >= FirstDynamicPort);
            _requested.Add(key);
            if (_requested.Count > 16)
                _requested.Remove(_requested.First());
        }

        if (packet.Operation is VsockPacket.Request or VsockPacket.Response)
            _sent[key] = 0;
        _sent[key] = _sent.GetValueOrDefault(key) + (uint)packet.Payload.Length;
    }

    /// <summary>What programs of the host do meanwhile.</summary>
    private static void Meddle(Random random, VsockGuest guest, Socket listener, List<Socket> programs)
    {
        if (listener.Poll(0, SelectMode.SelectRead))
            Keep(listener.Accept());
        if (random.Next(10) == 0)
        {
            Keep(guest.Connect());
            Send(programs[^1], Encoding.ASCII.GetBytes(random.Next(9) == 0 ? "CONNECT x\n" : $"CONNECT {random.Next(Ports)}\n"));
        }

        if (programs.Count == 0)
            return;
        var program = programs[random.Next(programs.Count)];
        switch (random.Next(12))
        {
            case < 4:
                Send(program, new byte[random.Next(random.Next(10) == 0 ? 50_000 : 200)]);
                break;
            case < 8:
                program.Receive(new byte[random.Next(1, 70_000)], SocketFlags.None, out _);
                break;
            case 8 when random.Next(8) == 0:
                Shut(program, (SocketShutdown)random.Next(3));
                break;
            case 9 when random.Next(4) == 0 || programs.Count > 30:
                programs.Remove(program);
                program.Dispose();
                break;
        }

        void Keep(Socket socket)
        {
            socket.Blocking = false;
            programs.Add(socket);
        }

        static void Send(Socket socket, byte[] data) => socket.Send(data, SocketFlags.None, out _);

        static void Shut(Socket socket, SocketShutdown how)
        {
            try
            {
                socket.Shutdown(how);
            }
            catch (SocketException)
            {
                // The device has closed it.
            }
        }
    }
}
