namespace Vivarium.Devices;

/// <summary>
/// A TCP/IP context descriptor (8254x developer's manual, 3.3.6): where headers and checksums stand in the frames that
/// follow, and how a large one is cut.
/// </summary>
internal readonly record struct E1000Context(ulong Low, ulong High)
{
    public int IpStart => (byte)Low;

    public int IpChecksum => (byte)(Low >> 8);

    /// <summary>The last byte that the checksum covers.</summary>
    public int IpEnd => (ushort)(Low >> 16);

    public int TransportStart => (byte)(Low >> 32);

    public int TransportChecksum => (byte)(Low >> 40);

    /// <summary>The last byte that the checksum covers; 0: the frame's last.</summary>
    public int TransportEnd => (ushort)(Low >> 48);

    public bool IsTcp => (High & 1 << 24) != 0;

    public bool IsIPv4 => (High & 1 << 25) != 0;

    public bool IsSegmentation => (High & 1 << 26) != 0;

    public int HeaderLength => (byte)(High >> 40);

    public int SegmentSize => (ushort)(High >> 48);

    /// <param name="ipChecksum">Put in the IP header's checksum.</param>
    /// <param name="transportChecksum">Put in that of TCP or UDP.</param>
    public OffloadPlan Plan(bool ipChecksum, bool transportChecksum) => new()
    {
        IpStart = IpStart,
        IpEnd = IpEnd + 1,
        IpChecksum = IpChecksum,
        TransportStart = TransportStart,
        TransportEnd = TransportEnd == 0 ? int.MaxValue : TransportEnd + 1,
        TransportChecksum = TransportChecksum,
        IsTcp = IsTcp,
        IsIPv4 = IsIPv4,
        HeaderLength = HeaderLength,
        SegmentSize = SegmentSize,
        PutsIpChecksum = ipChecksum,
        PutsTransportChecksum = transportChecksum,
    };
}
