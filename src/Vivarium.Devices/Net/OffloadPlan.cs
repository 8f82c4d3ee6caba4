namespace Vivarium.Devices;

/// <summary>
/// Where headers and checksums stand in a frame, which of them a card is to put in, and how it cuts a large one. Places are offsets
/// from the frame's first byte; ends are the first byte that a checksum does not cover.
/// </summary>
internal readonly record struct OffloadPlan
{
    public int IpStart { get; init; }

    public int IpEnd { get; init; }

    public int IpChecksum { get; init; }

    public int TransportStart { get; init; }

    /// <summary>May lie behind the frame's end, which then counts.</summary>
    public int TransportEnd { get; init; }

    public int TransportChecksum { get; init; }

    /// <summary>TCP, else UDP.</summary>
    public bool IsTcp { get; init; }

    /// <summary>IPv4, else IPv6.</summary>
    public bool IsIPv4 { get; init; }

    /// <summary>All headers, which each segment of a large frame begins with.</summary>
    public int HeaderLength { get; init; }

    /// <summary>Payload bytes in a segment.</summary>
    public int SegmentSize { get; init; }

    public bool PutsIpChecksum { get; init; }

    /// <summary>The field holds the pseudo header's sum, for a large frame without the length.</summary>
    public bool PutsTransportChecksum { get; init; }
}
