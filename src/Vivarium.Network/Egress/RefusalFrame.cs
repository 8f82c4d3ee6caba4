using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>What tells a guest at once that its packet was refused, so that programs fail instead of waiting.</summary>
internal static class RefusalFrame
{
    /// <summary>Room for the longest answer.</summary>
    public const int Capacity = 1024;

    private const int MaximumQuoted = 128;
    private const byte TimeToLive = 64;

    // ICMP (RFC 792, RFC 1812 5.2.7.1) and ICMPv6 (RFC 4443, 3.1).
    private const int IcmpHeaderLength = 8;
    private const int IcmpChecksumOffset = 2;
    private const byte DestinationUnreachable = 3;
    private const byte AdministrativelyProhibited = 13;
    private const byte DestinationUnreachableV6 = 1;
    private const byte AdministrativelyProhibitedV6 = 1;

    /// <summary>
    /// Writes the answer to a refused frame and says its length: a reset for TCP, REFUSED for a DNS query, an ICMP error
    /// for the rest; 0 where none is due.
    /// </summary>
    public static int Write(ReadOnlySpan<byte> frame, in FrameHeaders headers, EgressRefusal reason, Span<byte> answer)
    {
        if (headers.Kind is not (FrameKind.IPv4 or FrameKind.IPv6) || headers.IsTagged || headers.IsFragment)
            return 0;
        if (reason is not (EgressRefusal.Destination or EgressRefusal.Name or EgressRefusal.NotAQuery))
            return 0;
        var body = answer[(Ethernet.HeaderLength + HeaderLength(headers))..];
        var segment = frame[headers.TransportOffset..headers.End];
        if (headers.Protocol == IpProtocol.Tcp)
            return Finish(frame, headers, IpProtocol.Tcp, WriteReset(segment, body), Tcp.ChecksumOffset, answer);
        if (reason == EgressRefusal.Name)
            return Finish(frame, headers, IpProtocol.Udp, WriteDnsRefused(segment, body), Udp.ChecksumOffset, answer);
        if (headers.Protocol != IpProtocol.Udp && !IsEcho(headers, segment))
            return 0;
        var protocol = headers.IsIPv6 ? IpProtocol.IcmpV6 : IpProtocol.Icmp;
        return Finish(frame, headers, protocol, WriteProhibited(frame, headers, body), IcmpChecksumOffset, answer);
    }

    /// <summary>RFC 9293, 3.5.2: a reset takes its number from the acknowledgment, or acknowledges what it answers.</summary>
    private static int WriteReset(ReadOnlySpan<byte> segment, Span<byte> reset)
    {
        var flags = segment[Tcp.FlagsOffset];
        if ((flags & Tcp.Reset) != 0)
            return 0;
        reset = reset[..Tcp.MinimumHeaderLength];
        reset.Clear();
        SwapPorts(segment, reset);
        reset[Tcp.DataOffset] = Tcp.MinimumHeaderLength / 4 << 4;
        reset[Tcp.FlagsOffset] = Tcp.Reset;
        if ((flags & Tcp.Acknowledge) != 0)
        {
            segment.Slice(Tcp.AcknowledgmentOffset, sizeof(uint)).CopyTo(reset[Tcp.SequenceOffset..]);
            return reset.Length;
        }
        var dataOffset = (segment[Tcp.DataOffset] >> 4) * 4;
        var length = (uint)Math.Max(segment.Length - dataOffset, 0);
        if ((flags & Tcp.Syn) != 0)
            length++;
        if ((flags & Tcp.Fin) != 0)
            length++;
        reset[Tcp.FlagsOffset] |= Tcp.Acknowledge;
        BinaryPrimitives.WriteUInt32BigEndian(reset[Tcp.AcknowledgmentOffset..], BinaryPrimitives.ReadUInt32BigEndian(segment[Tcp.SequenceOffset..]) + length);
        return reset.Length;
    }

    private static int WriteDnsRefused(ReadOnlySpan<byte> segment, Span<byte> datagram)
    {
        var query = segment[Udp.HeaderLength..];
        Span<char> name = stackalloc char[DnsMessage.MaximumName];
        if (!DnsMessage.TryReadQuery(query, name, out _, out var questionEnd) || questionEnd > datagram.Length - Udp.HeaderLength)
            return 0;
        var message = datagram[Udp.HeaderLength..][..questionEnd];
        query[..questionEnd].CopyTo(message);
        var recursion = BinaryPrimitives.ReadUInt16BigEndian(query[DnsMessage.FlagsOffset..]) & DnsMessage.FlagRecursionDesired;
        BinaryPrimitives.WriteUInt16BigEndian(
            message[DnsMessage.FlagsOffset..],
            (ushort)(DnsMessage.FlagResponse | recursion | DnsMessage.FlagRecursionAvailable | DnsMessage.Refused));
        BinaryPrimitives.WriteUInt16BigEndian(message[DnsMessage.AdditionalCountOffset..], 0);
        var length = Udp.HeaderLength + questionEnd;
        SwapPorts(segment, datagram);
        BinaryPrimitives.WriteUInt16BigEndian(datagram[Udp.LengthOffset..], (ushort)length);
        return length;
    }

    private static int WriteProhibited(ReadOnlySpan<byte> frame, in FrameHeaders headers, Span<byte> message)
    {
        var packet = frame[headers.NetworkOffset..headers.End];
        var quoted = packet[..Math.Min(packet.Length, MaximumQuoted)];
        message[..IcmpHeaderLength].Clear();
        message[0] = headers.IsIPv6 ? DestinationUnreachableV6 : DestinationUnreachable;
        message[1] = headers.IsIPv6 ? AdministrativelyProhibitedV6 : AdministrativelyProhibited;
        quoted.CopyTo(message[IcmpHeaderLength..]);
        return IcmpHeaderLength + quoted.Length;
    }

    /// <summary>Only echo requests are answered: never an error to an error.</summary>
    private static bool IsEcho(in FrameHeaders headers, ReadOnlySpan<byte> segment)
    {
        const byte Echo = 8;
        const byte EchoV6 = 128;
        return !segment.IsEmpty && (headers.IsIPv6
            ? headers.Protocol == IpProtocol.IcmpV6 && segment[0] == EchoV6
            : headers.Protocol == IpProtocol.Icmp && segment[0] == Echo);
    }

    /// <summary>Puts the headers before a body, back from where the refused frame wanted to go.</summary>
    private static int Finish(ReadOnlySpan<byte> frame, in FrameHeaders headers, byte protocol, int length, int checksumOffset, Span<byte> answer)
    {
        if (length == 0)
            return 0;
        frame.Slice(Ethernet.SourceOffset, Ethernet.AddressLength).CopyTo(answer);
        frame[..Ethernet.AddressLength].CopyTo(answer[Ethernet.SourceOffset..]);
        frame.Slice(Ethernet.TypeOffset, sizeof(ushort)).CopyTo(answer[Ethernet.TypeOffset..]);
        var packet = answer[Ethernet.HeaderLength..][..(HeaderLength(headers) + length)];
        var body = packet[HeaderLength(headers)..];
        packet[..HeaderLength(headers)].Clear();
        ReadOnlySpan<byte> addresses;
        if (headers.IsIPv6)
        {
            packet[0] = 6 << 4;
            BinaryPrimitives.WriteUInt16BigEndian(packet[IPv6.PayloadLengthOffset..], (ushort)length);
            packet[IPv6.NextHeaderOffset] = protocol;
            packet[IPv6.HopLimitOffset] = TimeToLive;
            headers.Destination(frame).CopyTo(packet[IPv6.SourceOffset..]);
            headers.Source(frame).CopyTo(packet[IPv6.DestinationOffset..]);
            addresses = packet.Slice(IPv6.SourceOffset, 2 * IPv6.AddressLength);
        }
        else
        {
            packet[0] = 4 << 4 | IPv4.MinimumHeaderLength / 4;
            BinaryPrimitives.WriteUInt16BigEndian(packet[IPv4.TotalLengthOffset..], (ushort)packet.Length);
            packet[IPv4.TimeToLiveOffset] = TimeToLive;
            packet[IPv4.ProtocolOffset] = protocol;
            headers.Destination(frame).CopyTo(packet[IPv4.SourceOffset..]);
            headers.Source(frame).CopyTo(packet[IPv4.DestinationOffset..]);
            MemoryMarshal.Write(packet[IPv4.ChecksumOffset..], InternetChecksum.Of(packet[..IPv4.MinimumHeaderLength]));
            addresses = packet.Slice(IPv4.SourceOffset, 2 * IPv4.AddressLength);
        }

        // ICMP over IPv4 has no pseudo header.
        var sum = protocol == IpProtocol.Icmp ? 0 : InternetChecksum.PseudoHeader(addresses, protocol, length);
        body[checksumOffset..][..sizeof(ushort)].Clear();
        MemoryMarshal.Write(body[checksumOffset..], InternetChecksum.NonZero((ushort)~InternetChecksum.Fold(InternetChecksum.Add(sum, body))));
        return Ethernet.HeaderLength + packet.Length;
    }

    private static int HeaderLength(in FrameHeaders headers) => headers.IsIPv6 ? IPv6.HeaderLength : IPv4.MinimumHeaderLength;

    private static void SwapPorts(ReadOnlySpan<byte> from, Span<byte> to)
    {
        from[..2].CopyTo(to[2..]);
        from.Slice(2, 2).CopyTo(to);
    }
}
