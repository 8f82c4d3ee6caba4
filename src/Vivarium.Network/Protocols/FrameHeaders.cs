using System.Buffers.Binary;

namespace Vivarium.Network;

/// <summary>Where the parts of a frame lie. Every offset lies within the frame, whatever the frame says.</summary>
internal readonly struct FrameHeaders
{
    private const int MaximumVlanTags = 2;

    /// <summary>More extension headers than this are no honest packet.</summary>
    private const int MaximumExtensions = 8;

    public FrameKind Kind { get; private init; }

    public bool IsTagged { get; private init; }

    /// <summary>Offset of the ARP or IP header.</summary>
    public int NetworkOffset { get; private init; }

    /// <summary>Protocol of the transport header; IPv6's extension headers lie before it.</summary>
    public byte Protocol { get; private init; }

    /// <summary>Offset of what follows the IP headers.</summary>
    public int TransportOffset { get; private init; }

    /// <summary>Offset behind the IP packet; Ethernet's padding follows.</summary>
    public int End { get; private init; }

    /// <summary>One piece of a fragmented packet.</summary>
    public bool IsFragment { get; private init; }

    /// <summary>A piece without the transport header.</summary>
    public bool IsLaterFragment { get; private init; }

    /// <summary>The packet's identification, the same in all its fragments.</summary>
    public uint FragmentId { get; private init; }

    /// <summary>The packet names stations of its way: the address in the header need not be the last.</summary>
    public bool IsSourceRouted { get; private init; }

    /// <summary>TCP or UDP, with at least its ports present.</summary>
    public bool HasPorts { get; private init; }

    public ushort SourcePort { get; private init; }

    public ushort DestinationPort { get; private init; }

    public bool IsIPv6 => Kind == FrameKind.IPv6;

    public ReadOnlySpan<byte> Source(ReadOnlySpan<byte> frame) => IsIPv6
        ? frame.Slice(NetworkOffset + IPv6.SourceOffset, IPv6.AddressLength)
        : frame.Slice(NetworkOffset + IPv4.SourceOffset, IPv4.AddressLength);

    public ReadOnlySpan<byte> Destination(ReadOnlySpan<byte> frame) => IsIPv6
        ? frame.Slice(NetworkOffset + IPv6.DestinationOffset, IPv6.AddressLength)
        : frame.Slice(NetworkOffset + IPv4.DestinationOffset, IPv4.AddressLength);

    /// <summary>Whether it is an IP packet whose lengths fit.</summary>
    public static bool TryParse(ReadOnlySpan<byte> frame, out FrameHeaders headers)
    {
        headers = Parse(frame);
        return headers.Kind is FrameKind.IPv4 or FrameKind.IPv6;
    }

    public static FrameHeaders Parse(ReadOnlySpan<byte> frame)
    {
        if (frame.Length < Ethernet.HeaderLength)
            return default;
        var type = BinaryPrimitives.ReadUInt16BigEndian(frame[Ethernet.TypeOffset..]);
        var offset = Ethernet.HeaderLength;
        for (var tags = 0; type is Ethernet.TypeVlan or Ethernet.TypeServiceVlan; tags++)
        {
            if (tags == MaximumVlanTags || frame.Length < offset + Ethernet.VlanTagLength)
                return default;
            type = BinaryPrimitives.ReadUInt16BigEndian(frame[(offset + 2)..]);
            offset += Ethernet.VlanTagLength;
        }
        return type switch
        {
            Ethernet.TypeIPv4 => ParseIPv4(frame, offset),
            Ethernet.TypeIPv6 => ParseIPv6(frame, offset),
            Ethernet.TypeArp => new() { Kind = FrameKind.Arp, NetworkOffset = offset, IsTagged = offset != Ethernet.HeaderLength },
            _ => new() { Kind = FrameKind.Other, NetworkOffset = offset, IsTagged = offset != Ethernet.HeaderLength },
        };
    }

    private static FrameHeaders ParseIPv4(ReadOnlySpan<byte> frame, int offset)
    {
        var packet = frame[offset..];
        if (packet.Length < IPv4.MinimumHeaderLength || packet[0] >> 4 != 4)
            return default;
        var headerLength = (packet[0] & 0xF) * 4;
        int totalLength = BinaryPrimitives.ReadUInt16BigEndian(packet[IPv4.TotalLengthOffset..]);
        if (headerLength < IPv4.MinimumHeaderLength || totalLength < headerLength || totalLength > packet.Length)
            return default;
        var fragment = BinaryPrimitives.ReadUInt16BigEndian(packet[IPv4.FragmentOffset..]);
        var isLater = (fragment & IPv4.FragmentOffsetMask) != 0;
        var headers = new FrameHeaders
        {
            Kind = FrameKind.IPv4,
            IsTagged = offset != Ethernet.HeaderLength,
            NetworkOffset = offset,
            Protocol = packet[IPv4.ProtocolOffset],
            TransportOffset = offset + headerLength,
            End = offset + totalLength,
            IsFragment = isLater || (fragment & IPv4.MoreFragments) != 0,
            IsLaterFragment = isLater,
            FragmentId = BinaryPrimitives.ReadUInt16BigEndian(packet[IPv4.IdentificationOffset..]),
            IsSourceRouted = HasSourceRoute(packet[IPv4.MinimumHeaderLength..headerLength]),
        };
        return headers.WithPorts(frame);
    }

    /// <summary>Looks for the options of RFC 791, 3.1 that name a route; options that do not fit count as one.</summary>
    private static bool HasSourceRoute(ReadOnlySpan<byte> options)
    {
        const byte EndOfOptions = 0;
        const byte NoOperation = 1;
        const byte LooseSourceRoute = 131;
        const byte StrictSourceRoute = 137;
        const int MinimumOptionLength = 2;
        while (!options.IsEmpty && options[0] != EndOfOptions)
        {
            if (options[0] == NoOperation)
            {
                options = options[1..];
                continue;
            }
            if (options[0] is LooseSourceRoute or StrictSourceRoute
                || options.Length < MinimumOptionLength || options[1] < MinimumOptionLength || options[1] > options.Length)
                return true;
            options = options[options[1]..];
        }
        return false;
    }

    private static FrameHeaders ParseIPv6(ReadOnlySpan<byte> frame, int offset)
    {
        var packet = frame[offset..];
        if (packet.Length < IPv6.HeaderLength || packet[0] >> 4 != 6)
            return default;
        var end = IPv6.HeaderLength + BinaryPrimitives.ReadUInt16BigEndian(packet[IPv6.PayloadLengthOffset..]);
        if (end > packet.Length)
            return default;
        packet = packet[..end];
        var next = packet[IPv6.NextHeaderOffset];
        var at = IPv6.HeaderLength;
        var isFragment = false;
        var isLater = false;
        var isSourceRouted = false;
        uint fragmentId = 0;
        for (var extensions = 0; !isLater && IsExtension(next); extensions++)
        {
            const int MinimumExtensionLength = 8;
            if (extensions == MaximumExtensions || packet.Length - at < MinimumExtensionLength)
                return default;
            var header = packet[at..];
            var length = MinimumExtensionLength;
            if (next == IpProtocol.Fragment)
            {
                const ushort OffsetMask = 0xFFF8;
                const ushort MoreFragments = 1;
                var fragment = BinaryPrimitives.ReadUInt16BigEndian(header[2..]);
                isLater = (fragment & OffsetMask) != 0;
                isFragment |= (fragment & (OffsetMask | MoreFragments)) != 0;
                fragmentId = BinaryPrimitives.ReadUInt32BigEndian(header[4..]);
            }
            else
            {
                length += header[1] * 8;
                isSourceRouted |= next == IpProtocol.Routing && header[3] != 0;
            }
            if (length > header.Length)
                return default;
            next = header[0];
            at += length;
        }
        var headers = new FrameHeaders
        {
            Kind = FrameKind.IPv6,
            IsTagged = offset != Ethernet.HeaderLength,
            NetworkOffset = offset,
            Protocol = next,
            TransportOffset = offset + at,
            End = offset + end,
            IsFragment = isFragment,
            IsLaterFragment = isLater,
            FragmentId = fragmentId,
            IsSourceRouted = isSourceRouted,
        };
        return headers.WithPorts(frame);
    }

    private static bool IsExtension(byte protocol) =>
        protocol is IpProtocol.HopByHop or IpProtocol.Routing or IpProtocol.Fragment or IpProtocol.DestinationOptions;

    private FrameHeaders WithPorts(ReadOnlySpan<byte> frame)
    {
        if (IsLaterFragment || Protocol is not (IpProtocol.Tcp or IpProtocol.Udp))
            return this;
        var needed = Protocol == IpProtocol.Tcp ? Tcp.MinimumHeaderLength : Udp.HeaderLength;
        if (End - TransportOffset < needed)
            return default;
        return this with
        {
            HasPorts = true,
            SourcePort = BinaryPrimitives.ReadUInt16BigEndian(frame[TransportOffset..]),
            DestinationPort = BinaryPrimitives.ReadUInt16BigEndian(frame[(TransportOffset + 2)..]),
        };
    }
}
