using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Vivarium.Network.Tests;

public sealed class UserNetworkTests : IDisposable
{
    private readonly UserNetwork _network = new(new() { HostName = "sandbox" });
    private readonly TestGuest _guest;

    public UserNetworkTests() => _guest = new(_network);

    public void Dispose() => _network.Dispose();

    [SlirpFact]
    public void Dhcp_gives_the_guest_its_address_its_router_and_its_name_server()
    {
        var lease = _guest.Dhcp();
        Assert.Equal(UserNetworkAddresses.Guest, lease.Address);
        Assert.Equal(UserNetworkAddresses.Router, lease.Router);
        Assert.Equal(UserNetworkAddresses.NameServer, lease.NameServer);
    }

    [SlirpFact]
    public async Task Tcp_reaches_a_server_on_the_host_over_both_versions_of_ip()
    {
        await Check(IPAddress.Loopback, UserNetworkAddresses.Router);
        await Check(IPAddress.IPv6Loopback, UserNetworkAddresses.Router6);

        async Task Check(IPAddress hostAddress, IPAddress guestsView)
        {
            using var server = new TcpListener(hostAddress, 0);
            server.Start();
            var accepted = server.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
            var connection = _guest.Connect(guestsView, (ushort)((IPEndPoint)server.LocalEndpoint).Port);
            using var client = await accepted;
            var stream = client.GetStream();

            connection.Send(Encoding.ASCII.GetBytes("from the guest"));
            var buffer = new byte[14];
            await stream.ReadExactlyAsync(buffer, TestContext.Current.CancellationToken);
            Assert.Equal("from the guest", Encoding.ASCII.GetString(buffer));

            await stream.WriteAsync(Encoding.ASCII.GetBytes("from the host"), TestContext.Current.CancellationToken);
            Assert.Equal("from the host", Encoding.ASCII.GetString(connection.Receive(13)));
            connection.Close();
            Assert.Equal(0, await stream.ReadAsync(buffer, TestContext.Current.CancellationToken));
        }
    }
}
