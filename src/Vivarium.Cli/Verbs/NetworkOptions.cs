using Vivarium.Network;

namespace Vivarium.Cli.Verbs;

/// <summary>What <c>--net</c>, <c>--publish</c> and <c>--net-allow</c> ask for together.</summary>
/// <param name="Network">Null if nothing was said; see <see cref="OrDefault"/>.</param>
/// <param name="Forwards">Ports of this host that lead into the guest.</param>
/// <param name="Allow">All that the guest may reach; null if it may reach everything.</param>
internal sealed record NetworkOptions(NetworkOption? Network, IReadOnlyList<PortForward> Forwards, IReadOnlyList<EgressRule>? Allow)
{
    public static readonly NetworkOptions Unsaid = new(null, [], null);

    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    public static NetworkOptions Parse(string? network, IReadOnlyList<string> publish, IReadOnlyList<string> allow)
    {
        try
        {
            var options = new NetworkOptions(
                network is null ? null : NetworkOption.Parse(network),
                [.. publish.Select(PortForward.Parse)],
                allow.Count == 0 ? null : [.. allow.Select(EgressRule.Parse)]);
            options.Check();
            return options;
        }
        catch (FormatException e)
        {
            throw new InvalidInputException(e.Message.TrimEnd('.'), e);
        }
    }

    /// <summary>Without a word about it, a machine has a network if it has a disk that could hold a system to use it, or if something was said that needs one.</summary>
    public NetworkOption OrDefault(bool hasDisk) =>
        Network ?? (hasDisk || Forwards.Count != 0 || Allow is not null ? new NetworkOption.User() : new NetworkOption.None());

    private void Check()
    {
        if ((Forwards.Count != 0 || Allow is not null) && Network is NetworkOption.None or NetworkOption.Tap)
        {
            throw new InvalidInputException($"{(Allow is null ? "--publish" : "--net-allow")} works on the user network, not with --net {Network}; leave out one of them");
        }

        foreach (PortForward forward in Forwards)
        {
            if (forward.HostPort != 0 && Forwards.Count(other => other.HostPort == forward.HostPort && other.Udp == forward.Udp && other.Address.Equals(forward.Address)) > 1)
            {
                throw new InvalidInputException($"port {forward.HostPort} of this host is published twice; give each --publish a port of its own");
            }
        }
    }
}
