using System.Net;

namespace Vivarium.Network;

/// <summary>How a user network is set up.</summary>
public sealed record UserNetworkOptions
{
    /// <summary>The name that DHCP gives the guest; none when null.</summary>
    public string? HostName { get; init; }

    /// <summary>Ports of the host that lead to the guest.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>The largest packet that the guest sends, without its Ethernet header: 1280 to 65520.</summary>
    public int Mtu { get; init; } = UserNetwork.DefaultMtu;

    /// <summary>Who answers DNS queries over IPv4; the host's own resolver (/etc/resolv.conf) when null.</summary>
    public IPEndPoint? Resolver { get; init; }
}
