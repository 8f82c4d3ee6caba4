using System.Net;

namespace Vivarium.Network;

/// <summary>What an egress filter needs to know of the network it stands before.</summary>
public sealed record EgressFilterOptions
{
    /// <summary>What the guest may reach.</summary>
    public required IReadOnlyList<EgressRule> Rules { get; init; }

    /// <summary>The network's name servers: they get queries for allowed names, and nothing else unless a rule allows it.</summary>
    public IReadOnlyList<IPAddress> NameServers { get; init; } = [];

    /// <summary>DHCP servers that the guest may renew its lease with; broadcasts to any are always let out.</summary>
    public IReadOnlyList<IPAddress> DhcpServers { get; init; } = [];

    /// <summary>
    /// Addresses that stand for the host itself. A DNS answer never opens them, whoever owns the allowed name: only rules
    /// with addresses do.
    /// </summary>
    public IReadOnlyList<IPNetwork> HostAddresses { get; init; } = [];

    /// <summary>The clock, for tests.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>The options for a <see cref="UserNetwork"/>.</summary>
    public static EgressFilterOptions ForUserNetwork(IReadOnlyList<EgressRule> rules) => new()
    {
        Rules = rules,
        NameServers = [UserNetworkAddresses.NameServer, UserNetworkAddresses.NameServer6],
        DhcpServers = [UserNetworkAddresses.Router],
        HostAddresses =
        [
            new(UserNetworkAddresses.Network, UserNetworkAddresses.PrefixLength),
            new(UserNetworkAddresses.Prefix6, UserNetworkAddresses.PrefixLength6),
        ],
    };
}
