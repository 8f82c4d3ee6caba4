using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Brings the large TCP segments that libslirp sends to a guest with the usual MTU: whole, declared as what a card has
/// joined from segments of the size that the guest asked for (Virtio 1.2, 5.1.6.4, GSO), or cut if the guest does not take
/// that. So one frame does for twenty, and yet the guest acknowledges as often as usual, which it would not with an MTU as
/// large as half its window.
/// </summary>
/// <remarks>
/// libslirp looks at the MSS of connections from outside only, where it is raised; in others it sends as much as its own
/// MTU allows. What the guest asked for is kept here if it is less than the MTU allows: then the guest may be routing for
/// a network of its own.
/// </remarks>
internal sealed class LargeReceive(int mtu)
{
    /// <summary>TCP_MAXSEG_MAX of libslirp.</summary>
    private const ushort LargeSegment = 32768;

    private const byte OptionEnd = 0;
    private const byte OptionNoOperation = 1;
    private const byte OptionMaximumSegmentSize = 2;
    private const byte MaximumSegmentSizeLength = 4;

    /// <summary>No host may have less (RFC 791, 3.2): frames are not cut smaller, whatever a SYN says.</summary>
    private const ushort SmallestSegment = 64;
    private const int SmallSegmentsCapacity = 4096;

    private readonly record struct Connection(PeerAddress Guest, PeerAddress Peer, ushort GuestPort, ushort PeerPort);

    private readonly Dictionary<Connection, ushort> _smallSegments = [];

    /// <summary>What the guest takes.</summary>
    public NetworkOffloads Accepted { get; set; }

    /// <summary>Raises the MSS in a SYN of the guest, whose checksum is complete, or keeps a small one in mind.</summary>
    public void FromGuest(Span<byte> frame)
    {
        if (!TryParseTcp(frame, out var headers))
            return;
        var segment = frame[headers.TransportOffset..headers.End];
        if ((segment[Tcp.FlagsOffset] & Tcp.Syn) == 0)
            return;
        var connection = new Connection(
            PeerAddress.From(headers.Source(frame)), PeerAddress.From(headers.Destination(frame)), headers.SourcePort, headers.DestinationPort);
        _smallSegments.Remove(connection);
        if (!TryFindMaximumSegmentSize(segment, out var at))
            return;
        var size = BinaryPrimitives.ReadUInt16BigEndian(segment[at..]);
        if (size < SegmentSize(headers))
        {
            if (_smallSegments.Count == SmallSegmentsCapacity)
                _smallSegments.Clear();
            _smallSegments[connection] = Math.Max(size, SmallestSegment);
            return;
        }
        if (size >= LargeSegment || at % sizeof(ushort) != 0)
            return;
        var field = segment.Slice(at, sizeof(ushort));
        var before = InternetChecksum.Add(0, field);
        BinaryPrimitives.WriteUInt16BigEndian(field, LargeSegment);
        InternetChecksum.Update(segment[Tcp.ChecksumOffset..], before, InternetChecksum.Add(0, field));
    }

    /// <summary>Whether a frame for the guest has a larger segment than it asked for, of this size.</summary>
    public bool IsLarge(ReadOnlySpan<byte> frame, out FrameHeaders headers, out int payloadOffset, out int segmentSize)
    {
        headers = default;
        payloadOffset = segmentSize = 0;
        if ((frame.Length <= mtu + Ethernet.HeaderLength && _smallSegments.Count == 0) || !TryParseTcp(frame, out headers))
            return false;
        var headerLength = (frame[headers.TransportOffset + Tcp.DataOffset] >> 4) * 4;
        payloadOffset = headers.TransportOffset + headerLength;
        segmentSize = SegmentSize(headers);
        if (_smallSegments.Count != 0)
        {
            var connection = new Connection(
                PeerAddress.From(headers.Destination(frame)), PeerAddress.From(headers.Source(frame)), headers.DestinationPort, headers.SourcePort);
            if (_smallSegments.TryGetValue(connection, out var small))
                segmentSize = small;
        }

        // The MSS counts no options (RFC 9293, 3.7.1): they take their room from the data.
        segmentSize -= headerLength - Tcp.MinimumHeaderLength;
        return headerLength >= Tcp.MinimumHeaderLength && headers.End - payloadOffset > segmentSize;
    }

    /// <summary>Declares such a frame to be joined segments. False if the guest does not take them.</summary>
    public bool TryDeclare(Span<byte> frame, in FrameHeaders headers, int payloadOffset, int segmentSize, ref FrameOffload offload)
    {
        if (!Accepted.HasFlag(NetworkOffloads.Checksum | (headers.IsIPv6 ? NetworkOffloads.Tso6 : NetworkOffloads.Tso4)))
            return false;
        var segment = frame[headers.TransportOffset..headers.End];
        var addresses = headers.IsIPv6
            ? frame.Slice(headers.NetworkOffset + IPv6.SourceOffset, 2 * IPv6.AddressLength)
            : frame.Slice(headers.NetworkOffset + IPv4.SourceOffset, 2 * IPv4.AddressLength);

        // Joined segments must leave their checksum to the receiver.
        var begun = InternetChecksum.Fold(InternetChecksum.PseudoHeader(addresses, IpProtocol.Tcp, segment.Length));
        MemoryMarshal.Write(segment[Tcp.ChecksumOffset..], in begun);
        offload = new()
        {
            Flags = FrameOffload.NeedsChecksum,
            GsoType = headers.IsIPv6 ? FrameOffload.GsoTcpV6 : FrameOffload.GsoTcpV4,
            GsoSize = (ushort)segmentSize,
            HeaderLength = (ushort)payloadOffset,
            ChecksumStart = (ushort)headers.TransportOffset,
            ChecksumOffset = Tcp.ChecksumOffset,
        };
        return true;
    }

    private static bool TryParseTcp(ReadOnlySpan<byte> frame, out FrameHeaders headers) =>
        FrameHeaders.TryParse(frame, out headers) && headers is { Protocol: IpProtocol.Tcp, HasPorts: true, IsFragment: false };

    /// <summary>The MSS that fits the MTU (RFC 9293, 3.7.1).</summary>
    private int SegmentSize(in FrameHeaders headers) =>
        mtu - Tcp.MinimumHeaderLength - (headers.IsIPv6 ? IPv6.HeaderLength : IPv4.MinimumHeaderLength);

    private static bool TryFindMaximumSegmentSize(ReadOnlySpan<byte> segment, out int at)
    {
        var end = Math.Min((segment[Tcp.DataOffset] >> 4) * 4, segment.Length);
        at = Tcp.MinimumHeaderLength;
        while (at < end && segment[at] != OptionEnd)
        {
            if (segment[at] == OptionNoOperation)
            {
                at++;
                continue;
            }
            if (end - at < 2 || segment[at + 1] < 2)
                return false;
            if (segment[at] == OptionMaximumSegmentSize)
            {
                if (segment[at + 1] != MaximumSegmentSizeLength || end - at < MaximumSegmentSizeLength)
                    return false;
                at += 2;
                return true;
            }
            at += segment[at + 1];
        }
        return false;
    }
}
