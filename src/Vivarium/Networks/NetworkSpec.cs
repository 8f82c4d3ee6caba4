using System.Net;
using Vivarium.Network;

namespace Vivarium;

/// <summary>One network card of a machine and what it is plugged into.</summary>
public sealed record NetworkSpec
{
    /// <summary>What the card is plugged into; <see cref="NetworkOption.None"/> leaves the card out.</summary>
    public NetworkOption Network { get; init; } = new NetworkOption.User();

    /// <summary>What the guest finds; null: virtio, or an e1000 in a classic PC (<see cref="Virtualization.Full"/>).</summary>
    public NetworkModel? Model { get; init; }

    /// <summary>Ports of the host that lead to the guest. They need a user network.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    /// <summary>All that the guest may reach; null lets it reach everything. Only a user network can be fenced in so.</summary>
    public IReadOnlyList<EgressRule>? Allow { get; init; }

    /// <summary>Who answers the guest's DNS queries; the host's own resolver when null.</summary>
    public IPEndPoint? Resolver { get; init; }

    /// <summary>The card's address; made from <see cref="Name"/> when null.</summary>
    public MacAddress? Mac { get; init; }

    /// <summary>The name that DHCP gives the guest, and that its address is made from.</summary>
    public string Name { get; init; } = "vivarium";

    /// <summary>
    /// A file with what the card's ROM holds, by which firmware boots from this network (iPXE, for example); null for none. A card that is
    /// not on the PCI bus has no room for it.
    /// </summary>
    public string? Rom { get; init; }

    internal void Validate()
    {
        if (Forwards.Count != 0 && Network is not NetworkOption.User)
        {
            throw new InvalidInputException($"port forwards need the user network, and this machine's is {Network}; leave them out or use --net user");
        }

        if (Allow is not null && Network is not NetworkOption.User)
        {
            throw new InvalidInputException($"a list of allowed destinations needs the user network, and this machine's is {Network}; leave it out or use --net user");
        }
    }
}
