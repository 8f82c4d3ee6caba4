namespace Vivarium.Network;

/// <summary>Why a frame of the guest was not let out.</summary>
public enum EgressRefusal
{
    /// <summary>No rule allows the address and port.</summary>
    Destination,

    /// <summary>A DNS query for a name that no rule allows.</summary>
    Name,

    /// <summary>What goes to the name server but is no plain query over UDP.</summary>
    NotAQuery,

    /// <summary>Multicast and broadcast beyond what addresses need.</summary>
    Multicast,

    /// <summary>A fragment whose beginning was not let out.</summary>
    Fragment,

    /// <summary>A route given by the sender: the destination in the header is not the last.</summary>
    SourceRoute,

    /// <summary>A VLAN tag.</summary>
    Vlan,

    /// <summary>Neither IP nor ARP.</summary>
    Protocol,

    /// <summary>Lengths or offsets that do not fit.</summary>
    Malformed,
}
