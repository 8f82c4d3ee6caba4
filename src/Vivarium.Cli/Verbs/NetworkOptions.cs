using Vivarium.Network;

namespace Vivarium.Cli.Verbs;

/// <summary>What <c>--net</c>, <c>--publish</c> and <c>--net-allow</c> ask for together.</summary>
/// <param name="Network">Null if nothing was said; see <see cref="OrDefault"/>.</param>
/// <param name="Forwards">Ports of this host that lead into the guest.</param>
/// <param name="OnVirtio">It was said that the card is a virtio one.</param>
/// <param name="Allow">All that the guest may reach; null if it may reach everything.</param>
internal sealed record NetworkOptions(NetworkOption? Network, bool OnVirtio, IReadOnlyList<PortForward> Forwards, IReadOnlyList<EgressRule>? Allow)
{
    private const string VirtioBus = ",bus=virtio";

    public static readonly NetworkOptions Unsaid = new(null, false, [], null);

    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    public static NetworkOptions Parse(string? network, IReadOnlyList<string> publish, IReadOnlyList<string> allow)
    {
        try
        {
            bool onVirtio = network is not null && network.EndsWith(VirtioBus, StringComparison.Ordinal);
            var options = new NetworkOptions(
                network is null ? null : NetworkOption.Parse(onVirtio ? network[..^VirtioBus.Length] : network),
                onVirtio,
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
    public NetworkOption OrDefault(bool hasDisk, Virtualization virtualization) =>
        Network ?? ((hasDisk && virtualization == Virtualization.Para) || Forwards.Count != 0 || Allow is not null ? new NetworkOption.User() : new NetworkOption.None());

    /// <summary>A classic PC has no network card of its own yet; a virtio card must be asked for by name.</summary>
    /// <exception cref="InvalidInputException">A network was asked for without its bus.</exception>
    public void RequireBus()
    {
        if (!OnVirtio && (Network is NetworkOption.User or NetworkOption.Tap || Forwards.Count != 0 || Allow is not null))
        {
            throw new InvalidInputException($"--virt full has no classic network card yet; write --net {Network ?? new NetworkOption.User()},bus=virtio to mix in a virtio card, or leave the network out");
        }
    }

    private void Check()
    {
        if (OnVirtio && Network is NetworkOption.None)
        {
            throw new InvalidInputException("--net none has no card to put on a bus; leave out bus=virtio");
        }

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
