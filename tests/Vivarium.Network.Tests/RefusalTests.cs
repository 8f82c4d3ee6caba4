using System.Net;

namespace Vivarium.Network.Tests;

/// <summary>What a guest gets back for what was refused, through the filter in front of a user network.</summary>
public sealed class RefusalTests
{
    private static readonly IPAddress Elsewhere4 = IPAddress.Parse("198.51.100.7");
    private static readonly IPAddress Elsewhere6 = IPAddress.Parse("2001:db8::7");

    [SlirpFact]
    public void A_refused_connection_fails_at_once()
    {
        using var network = Network();
        var guest = new TestGuest(network);
        Assert.Throws<IOException>(() => guest.Connect(Elsewhere4, 25));
        Assert.Throws<IOException>(() => guest.Connect(Elsewhere6, 25));
        Assert.Equal(2, network.Filter.Counters.Refused[EgressRefusal.Destination]);
    }

    [SlirpTheory]
    [InlineData("198.51.100.7", 1, 3, 13)]
    [InlineData("2001:db8::7", 58, 1, 1)]
    public void A_refused_datagram_is_answered_by_an_error_that_quotes_it(string destination, byte protocol, byte type, byte code)
    {
        using var network = Network();
        var guest = new TestGuest(network);
        guest.SendUdp(IPAddress.Parse(destination), 7000, 9, [1, 2, 3]);
        var error = guest.ReceiveFrame(f => FrameHeaders.Parse(f) is { Kind: FrameKind.IPv4 or FrameKind.IPv6 } h && h.Protocol == protocol);
        var headers = FrameHeaders.Parse(error);
        var message = error.AsSpan(headers.TransportOffset..headers.End);
        Assert.Equal(type, message[0]);
        Assert.Equal(code, message[1]);
        Assert.Equal([7000 >> 8, 7000 & 0xFF, 0, 9], message[^11..^7].ToArray());
        Assert.Equal(0, protocol == 1
            ? Packet.Checksum(message)
            : Packet.TransportChecksum(new(headers.Source(error)), new(headers.Destination(error)), protocol, message));
    }

    [SlirpFact]
    public void A_refused_name_is_answered_with_refused()
    {
        using var network = Network();
        var guest = new TestGuest(network);
        guest.SendUdp(UserNetworkAddresses.NameServer, 5000, 53, [.. Dns.Query(0x1234, "example.com", Dns.A)]);
        var answer = guest.ReceiveUdp(5000, out var from);
        Assert.Equal(53, from);
        byte[] expected = [0x12, 0x34, 0x81, 0x85, .. Dns.Query(0x1234, "example.com", Dns.A)[4..]];
        Assert.Equal(expected, answer);
    }

    [SlirpFact]
    public async Task What_is_allowed_goes_through_the_filter_both_ways()
    {
        using var server = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var port = (ushort)((IPEndPoint)server.LocalEndpoint).Port;
        using var network = Network($"10.0.2.2:{port}");
        var guest = new TestGuest(network);
        guest.Dhcp();
        var accepting = server.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        var connection = guest.Connect(UserNetworkAddresses.Router, port);
        using var client = await accepting;
        connection.SendOffloaded(new byte[30000]);
        await client.GetStream().ReadExactlyAsync(new byte[30000], TestContext.Current.CancellationToken);
        await client.GetStream().WriteAsync(new byte[] { 7 }, TestContext.Current.CancellationToken);
        Assert.Equal([7], connection.Receive(1));
    }

    [SlirpFact]
    public async Task A_forward_answers_though_nothing_may_go_out()
    {
        var user = new UserNetwork(new());
        using var network = new FilteredNetwork(user, new(EgressFilterOptions.ForUserNetwork([])));
        var guest = new TestGuest(network);
        var forward = user.AddForward(PortForward.Parse("0:22"));
        using var client = new System.Net.Sockets.TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, forward.HostPort, TestContext.Current.CancellationToken);
        var connection = guest.Accept(22);
        await client.GetStream().WriteAsync(new byte[] { 1, 2, 3 }, TestContext.Current.CancellationToken);
        Assert.Equal([1, 2, 3], connection.Receive(3));
        connection.Send([4]);
        Assert.Equal(4, client.GetStream().ReadByte());
    }

    [SlirpFact]
    public async Task A_name_that_is_allowed_opens_its_address()
    {
        using var resolver = new System.Net.Sockets.UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        var user = new UserNetwork(new() { Resolver = (IPEndPoint)resolver.Client.LocalEndPoint! });
        using var network = new FilteredNetwork(user, new(EgressFilterOptions.ForUserNetwork([EgressRule.Parse("example.org:80")])));
        var guest = new TestGuest(network);
        guest.SendUdp(UserNetworkAddresses.NameServer, 5000, 53, Dns.Query(1, "example.org", Dns.A));
        var query = await resolver.ReceiveAsync(TestContext.Current.CancellationToken);
        await resolver.SendAsync(Dns.Answer(1, "example.org", Dns.A, Dns.Address("example.org", "192.0.2.80")), query.RemoteEndPoint, TestContext.Current.CancellationToken);
        guest.ReceiveUdp(5000);

        // Where it leads is not of this host: only the filter's decision counts.
        var allowed = network.Filter.Counters.Allowed;
        guest.Send(IPAddress.Parse("192.0.2.80"), 6, Packet.Tcp(4000, 80, 1, 0, 2, []), 16);
        Assert.Equal(allowed + 1, network.Filter.Counters.Allowed);
        Assert.Empty(network.Filter.Counters.Refused);
    }

    private static FilteredNetwork Network(params string[] rules) =>
        new(new UserNetwork(new()), new(EgressFilterOptions.ForUserNetwork([.. rules.Select(EgressRule.Parse)])));
}
