using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Vivarium.Network.Tests;

public sealed class UserNetworkTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [SlirpFact]
    public void Dhcp_gives_the_guest_its_address_its_router_and_its_name_server()
    {
        using var network = new UserNetwork(new() { HostName = "sandbox" });
        var lease = new TestGuest(network).Dhcp();
        Assert.Equal(UserNetworkAddresses.Guest, lease.Address);
        Assert.Equal(UserNetworkAddresses.Router, lease.Router);
        Assert.Equal(UserNetworkAddresses.NameServer, lease.NameServer);
    }

    [SlirpTheory]
    [InlineData("127.0.0.1", "10.0.2.2")]
    [InlineData("::1", "fec0::2")]
    public async Task Tcp_reaches_a_server_on_the_host(string host, string router)
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        using var server = new TcpListener(IPAddress.Parse(host), 0);
        server.Start();
        var accepted = server.AcceptTcpClientAsync(Cancellation);
        var connection = guest.Connect(IPAddress.Parse(router), Port(server.LocalEndpoint));
        using var client = await accepted;
        var stream = client.GetStream();

        connection.Send(Encoding.ASCII.GetBytes("from the guest"));
        var buffer = new byte[14];
        await stream.ReadExactlyAsync(buffer, Cancellation);
        Assert.Equal("from the guest", Encoding.ASCII.GetString(buffer));

        await stream.WriteAsync(Encoding.ASCII.GetBytes("from the host"), Cancellation);
        Assert.Equal("from the host", Encoding.ASCII.GetString(connection.Receive(13)));
        connection.Close();
        Assert.Equal(0, await stream.ReadAsync(buffer, Cancellation));
    }

    [SlirpTheory]
    [InlineData("127.0.0.1", "10.0.2.2")]
    [InlineData("::1", "fec0::2")]
    public async Task A_segment_of_nearly_64_KiB_without_checksum_arrives_whole(string host, string router)
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        using var server = new TcpListener(IPAddress.Parse(host), 0);
        server.Start();
        var accepted = server.AcceptTcpClientAsync(Cancellation);
        var connection = guest.Connect(IPAddress.Parse(router), Port(server.LocalEndpoint));
        using var client = await accepted;
        var sent = Pattern(65000);
        var received = new byte[sent.Length];
        var reading = client.GetStream().ReadExactlyAsync(received, Cancellation).AsTask();
        connection.SendOffloaded(sent);
        await reading;
        Assert.Equal(sent, received);
    }

    [SlirpTheory]
    [InlineData(NetworkOffloads.Checksum | NetworkOffloads.Tso4, 1460, 32768)]
    [InlineData(NetworkOffloads.None, 1460, 1460)]
    public async Task A_guest_that_takes_large_segments_gets_them(NetworkOffloads accepted, int mss, int largest)
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        network.SetReceiveOffloads(accepted);
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var accepting = server.AcceptTcpClientAsync(Cancellation);
        var connection = guest.Connect(UserNetworkAddresses.Router, Port(server.LocalEndpoint), mss: mss);
        using var client = await accepting;
        var sent = Pattern(1_000_000);
        var writing = client.GetStream().WriteAsync(sent, Cancellation).AsTask();
        Assert.Equal(sent, connection.Receive(sent.Length));
        await writing;
        Assert.Equal(largest, connection.LargestSegment);
    }

    [SlirpFact]
    public void A_refused_connection_is_refused_in_the_guest_too()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        using var unused = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        unused.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        Assert.Throws<IOException>(() => guest.Connect(UserNetworkAddresses.Router, Port(unused.LocalEndPoint!)));
    }

    [SlirpTheory]
    [InlineData("127.0.0.1", "10.0.2.2")]
    [InlineData("::1", "fec0::2")]
    public async Task Udp_goes_both_ways(string host, string router)
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        using var server = new UdpClient(new IPEndPoint(IPAddress.Parse(host), 0));
        guest.SendUdp(IPAddress.Parse(router), 7000, Port(server.Client.LocalEndPoint!), [1, 2, 3]);
        var request = await server.ReceiveAsync(Cancellation);
        Assert.Equal([1, 2, 3], request.Buffer);
        await server.SendAsync(new byte[] { 4, 5 }, request.RemoteEndPoint, Cancellation);
        Assert.Equal([4, 5], guest.ReceiveUdp(7000));
    }

    [SlirpTheory]
    [InlineData("10.0.2.2")]
    [InlineData("fec0::2")]
    public void The_router_answers_echo_requests(string router)
    {
        using var network = new UserNetwork(new());
        Assert.Equal([1, 2, 3, 4], new TestGuest(network).Ping(IPAddress.Parse(router), [1, 2, 3, 4]));
    }

    [SlirpFact]
    public async Task Dns_queries_go_to_the_resolver_that_was_set()
    {
        using var resolver = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var network = new UserNetwork(new() { Resolver = (IPEndPoint)resolver.Client.LocalEndPoint! });
        var guest = new TestGuest(network);
        var query = Dns.Query(1, "example.org", 1);
        guest.SendUdp(UserNetworkAddresses.NameServer, 5000, 53, query);
        var received = await resolver.ReceiveAsync(Cancellation);
        Assert.Equal(query, received.Buffer);
        await resolver.SendAsync(new byte[] { 9 }, received.RemoteEndPoint, Cancellation);
        Assert.Equal([9], guest.ReceiveUdp(5000, out var from));
        Assert.Equal(53, from);
    }

    [SlirpFact]
    public async Task A_forward_leads_tcp_into_the_guest()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        var forward = network.AddForward(PortForward.Parse("0:22"));
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, forward.HostPort, Cancellation);
        var connection = guest.Accept(22);
        await client.GetStream().WriteAsync(new byte[] { 1, 2, 3 }, Cancellation);
        Assert.Equal([1, 2, 3], connection.Receive(3));
        connection.Send([4, 5]);
        var buffer = new byte[2];
        await client.GetStream().ReadExactlyAsync(buffer, Cancellation);
        Assert.Equal([4, 5], buffer);
    }

    [SlirpFact]
    public async Task A_forward_leads_udp_into_the_guest()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        var forward = network.AddForward(PortForward.Parse("0:5000/udp"));
        using var client = new UdpClient();
        client.Connect(IPAddress.Loopback, forward.HostPort);
        await client.SendAsync(new byte[] { 1, 2, 3 }, Cancellation);
        Assert.Equal([1, 2, 3], guest.ReceiveUdp(5000, out var from));
        guest.SendUdp(UserNetworkAddresses.Router, 5000, from, [6]);
        Assert.Equal([6], (await client.ReceiveAsync(Cancellation)).Buffer);
    }

    [SlirpTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_port_that_is_bound_is_explained_and_a_removed_forward_frees_it(bool udp)
    {
        using var network = new UserNetwork(new());

        // Below the ports that the host gives out, so that no other test takes it meanwhile.
        var forward = network.AddForward(new(IPAddress.Loopback, 20_000 + Environment.ProcessId % 10_000 + (udp ? 1 : 0), 22, udp));
        using (var second = new UserNetwork(new()))
        {
            var error = Assert.Throws<NetworkException>(() => second.AddForward(forward));
            Assert.Equal($"{(udp ? "UDP port" : "Port")} {forward.HostPort} on 127.0.0.1 is already in use; forward another port of the host to the guest's port 22.", error.Message);
            Assert.Throws<NetworkException>(() => new UserNetwork(new() { Forwards = [forward] }));
        }
        Assert.True(network.RemoveForward(forward));
        Assert.False(network.RemoveForward(forward));
        network.AddForward(forward);
    }

    [SlirpFact]
    public void An_address_that_the_host_has_not_is_explained()
    {
        using var network = new UserNetwork(new());
        var error = Assert.Throws<NetworkException>(() => network.AddForward(PortForward.Parse("192.0.2.1:2222:22")));
        Assert.StartsWith("192.0.2.1 is no address of this host", error.Message, StringComparison.Ordinal);
    }

    [SlirpFact]
    public async Task A_guest_without_buffers_loses_nothing_and_holds_up_the_sender()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var accepting = server.AcceptTcpClientAsync(Cancellation);
        var connection = guest.Connect(UserNetworkAddresses.Router, Port(server.LocalEndpoint));
        using var client = await accepting;
        var sent = Pattern(3_000_000);
        guest.Full = true;
        var writing = client.GetStream().WriteAsync(sent, Cancellation).AsTask();
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref guest.Refused) > 0, TimeSpan.FromSeconds(20)));
        guest.Full = false;
        network.ReceiveReady();
        Assert.Equal(sent, connection.Receive(sent.Length));
        await writing;
        Assert.Equal(0, network.Counters.Overrun);
    }

    [SlirpFact]
    public void A_flood_at_a_guest_without_buffers_is_dropped_beyond_a_limit()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        var frame = guest.FrameTo(UserNetworkAddresses.Router, 1, [8, 0, 0, 0, 0, 0, 0, 1, .. new byte[1400]], 2);
        guest.Full = true;
        for (var i = 0; i < 2000; i++)
            guest.SendFrame(frame);
        Assert.InRange(network.Counters.Overrun, 1000, 1999);
        guest.Full = false;
        network.ReceiveReady();
        Assert.NotNull(guest.TryReceiveNow());
    }

    [SlirpFact]
    public void Frames_that_do_not_fit_are_counted_and_do_no_harm()
    {
        using var network = new UserNetwork(new());
        var guest = new TestGuest(network);
        guest.SendFrame(new byte[13]);
        guest.SendFrame(new byte[Ethernet.MaximumFrame + 1]);
        guest.SendFrame(new byte[100], new() { Flags = FrameOffload.NeedsChecksum, ChecksumStart = 99, ChecksumOffset = 16 });
        Assert.Equal(3, network.Counters.Malformed);
        Assert.Equal([1], guest.Ping(UserNetworkAddresses.Router, [1]));
    }

    private static ushort Port(EndPoint endpoint) => (ushort)((IPEndPoint)endpoint).Port;

    private static byte[] Pattern(int length)
    {
        var bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        return bytes;
    }
}
