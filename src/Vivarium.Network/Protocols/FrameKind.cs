namespace Vivarium.Network;

/// <summary>What a frame carries, as far as this room tells apart.</summary>
internal enum FrameKind
{
    /// <summary>Lengths that do not fit each other, or a header cut short.</summary>
    Malformed,
    IPv4,
    IPv6,
    Arp,
    Other,
}
