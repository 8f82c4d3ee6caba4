using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Makes libslirp send TCP segments far larger than the guest's MTU: one frame instead of twenty. To libslirp the guest
/// seems to take large segments (the MSS option of its SYN is raised); to the guest they are what a card has joined from
/// segments of the size that it asked for (Virtio 1.2, 5.1.6.4, GSO). So the guest acknowledges as often as usual, which
/// it would not with an MTU as large as half its window.
/// </summary>
/// <remarks>
/// It keeps no state: only connections whose SYN offers exactly what the MTU allows are enlarged; others, which the guest
/// may be routing for a network of its own, offer less and get segments no larger than they said.
/// </remarks>
internal sealed class LargeReceive(int mtu)
{
    /// <summary>TCP_MAXSEG_MAX of libslirp.</summary>
    private const ushort LargeSegment = 32768;

    private const byte OptionEnd = 0;
    private const byte OptionNoOperation = 1;
    private const byte OptionMaximumSegmentSize = 2;
    private const byte MaximumSegmentSizeLength = 4;

    /// <summary>Which versions of IP the guest takes joined segments of.</summary>
    public NetworkOffloads Accepted { get; set; }

    /// <summary>Raises the MSS in a SYN of the guest, whose checksum is complete.</summary>
    public void FromGuest(Span<byte> frame)
    {
        if (!IsCandidate(frame, out var headers))
            return;
        var segment = frame[headers.TransportOffset..headers.End];
        if ((segment[Tcp.FlagsOffset] & Tcp.Syn) == 0 || !TryFindMaximumSegmentSize(segment, out var at))
            return;
        if (at % sizeof(ushort) != 0 || BinaryPrimitives.ReadUInt16BigEndian(segment[at..]) != SegmentSize(headers))
            return;
        var field = segment.Slice(at, sizeof(ushort));
        var before = InternetChecksum.Add(0, field);
        BinaryPrimitives.WriteUInt16BigEndian(field, LargeSegment);
        InternetChecksum.Update(segment[Tcp.ChecksumOffset..], before, InternetChecksum.Add(0, field));
    }

    /// <summary>Declares a frame for the guest that is larger than its MTU to be joined segments.</summary>
    public void ToGuest(Span<byte> frame, ref FrameOffload offload)
    {
        if (frame.Length <= mtu + Ethernet.HeaderLength || !IsCandidate(frame, out var headers))
            return;
        var segment = frame[headers.TransportOffset..headers.End];
        var headerLength = (segment[Tcp.DataOffset] >> 4) * 4;
        if (headerLength < Tcp.MinimumHeaderLength || headerLength > segment.Length)
            return;
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
            GsoSize = SegmentSize(headers),
            HeaderLength = (ushort)(headers.TransportOffset + headerLength),
            ChecksumStart = (ushort)headers.TransportOffset,
            ChecksumOffset = Tcp.ChecksumOffset,
        };
    }

    private bool IsCandidate(ReadOnlySpan<byte> frame, out FrameHeaders headers) =>
        FrameHeaders.TryParse(frame, out headers)
        && headers is { Protocol: IpProtocol.Tcp, HasPorts: true, IsFragment: false }
        && Accepted.HasFlag(NetworkOffloads.Checksum | (headers.IsIPv6 ? NetworkOffloads.Tso6 : NetworkOffloads.Tso4));

    /// <summary>The MSS that fits the MTU (RFC 9293, 3.7.1).</summary>
    private ushort SegmentSize(in FrameHeaders headers) =>
        (ushort)(mtu - Tcp.MinimumHeaderLength - (headers.IsIPv6 ? IPv6.HeaderLength : IPv4.MinimumHeaderLength));

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
