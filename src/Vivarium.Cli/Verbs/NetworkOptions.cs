using Vivarium.Network;

namespace Vivarium.Cli.Verbs;

/// <summary>What <c>--net</c> and <c>--publish</c> ask for together.</summary>
/// <param name="Network">Null if nothing was said; see <see cref="OrDefault"/>.</param>
/// <param name="Forwards">Ports of this host that lead into the guest.</param>
internal sealed record NetworkOptions(NetworkOption? Network, IReadOnlyList<PortForward> Forwards)
{
    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    public static NetworkOptions Parse(string? network, IReadOnlyList<string> publish)
    {
        try
        {
            var options = new NetworkOptions(network is null ? null : NetworkOption.Parse(network), [.. publish.Select(PortForward.Parse)]);
            options.Check();
            return options;
        }
        catch (FormatException e)
        {
            throw new InvalidInputException(e.Message.TrimEnd('.'), e);
        }
    }

    /// <summary>Without a word about it, a machine has a network if it has a disk that could hold a system to use it, or ports to publish.</summary>
    public NetworkOption OrDefault(bool hasDisk) =>
        Network ?? (hasDisk || Forwards.Count != 0 ? new NetworkOption.User() : new NetworkOption.None());

    private void Check()
    {
        if (Forwards.Count != 0 && Network is NetworkOption.None or NetworkOption.Tap)
        {
            throw new InvalidInputException($"--publish works on the user network, not with --net {Network}; leave out one of them");
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
