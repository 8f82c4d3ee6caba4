using Vivarium.Firmware;
using Vivarium.Firmware.Boot;
using Vivarium.Network;

namespace Vivarium.Networks;

/// <summary>A network of a machine, open from the machine's making to its end; cards come and go with power cycles.</summary>
internal sealed class MachineNetwork : IDisposable
{
    private readonly INetworkBackend _network;
    private readonly UserNetwork? _user;
    private readonly EgressFilter? _filter;

    private MachineNetwork(NetworkSpec spec, NetworkModel model, INetworkBackend network, UserNetwork? user, EgressFilter? filter, MacAddress mac)
    {
        Spec = spec;
        Model = model;
        _network = network;
        _user = user;
        _filter = filter;
        Mac = mac;
        Backend = new NetworkBackend(network);
    }

    public NetworkSpec Spec { get; }

    /// <summary>What the card's ROM holds; null if it has none.</summary>
    public OptionRom? Rom { get; private init; }

    public NetworkModel Model { get; }

    public NetworkBackend Backend { get; }

    public MacAddress Mac { get; }

    /// <summary>What the list of allowed destinations has let out and refused; null without one.</summary>
    public EgressCounters? Egress => _filter?.Counters;

    /// <param name="model">What the guest finds.</param>
    /// <param name="card">Which card of the machine it is, from 0.</param>
    /// <param name="warn">Told when the network fails while the machine goes on.</param>
    /// <exception cref="InvalidInputException">The network cannot be had; the message says why.</exception>
    public static MachineNetwork? Open(NetworkSpec spec, NetworkModel model, int card, Action<string> warn)
    {
        MacAddress mac = spec.Mac ?? MacAddress.ForMachine(spec.Name, card);
        try
        {
            OptionRom? rom = spec.Rom is null ? null : OptionRom.Load(spec.Rom);
            return spec.Network switch
            {
                NetworkOption.User => OpenUser(spec, model, mac, rom),
                NetworkOption.Tap tap => new MachineNetwork(spec, model, new TapNetwork(tap.Interface) { Failed = sentence => warn(sentence.TrimEnd('.')) }, null, null, mac) { Rom = rom },
                _ => null,
            };
        }
        catch (Exception e) when (e is NetworkException or BootException)
        {
            throw new InvalidInputException(e.Message.TrimEnd('.'), e);
        }
    }

    /// <summary>Opens a port of the host that leads to the guest, and says which when any was asked for.</summary>
    /// <exception cref="InvalidInputException">The port cannot be had, or this is no user network.</exception>
    public PortForward AddForward(PortForward forward)
    {
        if (_user is null)
        {
            throw new InvalidInputException($"port forwards need the user network, and this machine's is {Spec.Network}");
        }

        try
        {
            return _user.AddForward(forward);
        }
        catch (NetworkException e)
        {
            throw new InvalidInputException(e.Message.TrimEnd('.'), e);
        }
    }

    public void Dispose() => _network.Dispose();

    private static MachineNetwork OpenUser(NetworkSpec spec, NetworkModel model, MacAddress mac, OptionRom? rom)
    {
        var user = new UserNetwork(new UserNetworkOptions { HostName = spec.Name, Forwards = spec.Forwards, Resolver = spec.Resolver });
        if (spec.Allow is null)
        {
            return new MachineNetwork(spec, model, user, user, null, mac) { Rom = rom };
        }

        var filter = new EgressFilter(EgressFilterOptions.ForUserNetwork(spec.Allow));
        return new MachineNetwork(spec, model, new FilteredNetwork(user, filter), user, filter, mac) { Rom = rom };
    }
}
