using Vivarium.Network;

namespace Vivarium.Cli.Verbs;

/// <summary>What <c>--net</c>, <c>--publish</c> and <c>--net-allow</c> ask for together.</summary>
/// <param name="Network">Null if nothing was said; see <see cref="OrDefault"/>.</param>
/// <param name="Forwards">Ports of this host that lead into the guest.</param>
/// <param name="Model">What card it is to be; null: the preset's.</param>
/// <param name="Allow">All that the guest may reach; null if it may reach everything.</param>
internal sealed record NetworkOptions(NetworkOption? Network, NetworkModel? Model, IReadOnlyList<PortForward> Forwards, IReadOnlyList<EgressRule>? Allow)
{
    private const string ModelKey = "model=";

    /// <summary>What disks say, understood here too.</summary>
    private const string VirtioBus = "bus=virtio";

    private static readonly (string Word, NetworkModel Model)[] s_models =
    [
        ("virtio", NetworkModel.Virtio),
        ("e1000", NetworkModel.E1000),
        ("rtl8139", NetworkModel.Rtl8139),
    ];

    public static readonly NetworkOptions Unsaid = new(null, null, [], null);

    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    public static NetworkOptions Parse(string? network, IReadOnlyList<string> publish, IReadOnlyList<string> allow)
    {
        try
        {
            List<string> words = network is null ? [] : OptionParts.Split(network);
            var options = new NetworkOptions(
                words.Count == 0 ? null : NetworkOption.Parse(words[0]),
                words.Count < 2 ? null : ParseModel(network!, words),
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

    /// <summary>Without a word about it, a machine has a network if something was said that needs one.</summary>
    /// <param name="isUseful">It has a disk that could hold a system to use one, or is to boot from one.</param>
    public NetworkOption OrDefault(bool isUseful) =>
        Network ?? (isUseful || Forwards.Count != 0 || Allow is not null ? new NetworkOption.User() : new NetworkOption.None());

    private static NetworkModel ParseModel(string text, List<string> words)
    {
        if (words is not [_, var word])
        {
            throw new InvalidInputException($"the network '{text}' says too much; write KIND or KIND,model=CARD, for example user,model=e1000");
        }

        if (word == VirtioBus)
        {
            return NetworkModel.Virtio;
        }

        if (!word.StartsWith(ModelKey, StringComparison.Ordinal))
        {
            throw new InvalidInputException($"the network '{text}' has the unknown property '{word}'; write for example user,model=e1000");
        }

        string name = word[ModelKey.Length..];
        foreach ((string known, NetworkModel model) in s_models)
        {
            if (known == name)
            {
                return model;
            }
        }

        throw new InvalidInputException($"'{name}' is no network card that viv knows; known are {string.Join(", ", s_models.Select(known => known.Word))}");
    }

    private void Check()
    {
        if (Model is not null && Network is NetworkOption.None)
        {
            throw new InvalidInputException("--net none has no card; leave out what kind it is to be");
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
