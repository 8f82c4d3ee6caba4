using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>Cuts a large TCP segment into frames of the usual size, for a receiver that does not take it whole.</summary>
internal static class TcpSegmentation
{
    /// <summary>How many frames it makes.</summary>
    public static int Count(int payloadLength, int segmentSize) => (payloadLength + segmentSize - 1) / segmentSize;

    /// <summary>Writes one of the frames and says its length.</summary>
    /// <param name="frame">An IP packet with a whole TCP segment.</param>
    /// <param name="payloadOffset">Where in the frame the data begins.</param>
    /// <param name="index">Which one, from 0.</param>
    /// <param name="piece">Room for the headers and <paramref name="segmentSize"/> bytes.</param>
    public static int Write(ReadOnlySpan<byte> frame, in FrameHeaders headers, int payloadOffset, int segmentSize, int index, Span<byte> piece)
    {
        var at = payloadOffset + index * segmentSize;
        var length = Math.Min(segmentSize, headers.End - at);
        var isLast = at + length == headers.End;
        piece = piece[..(payloadOffset + length)];
        frame[..payloadOffset].CopyTo(piece);
        frame.Slice(at, length).CopyTo(piece[payloadOffset..]);

        var packet = piece[headers.NetworkOffset..];
        ReadOnlySpan<byte> addresses;
        if (headers.IsIPv6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(packet[IPv6.PayloadLengthOffset..], (ushort)(packet.Length - IPv6.HeaderLength));
            addresses = packet.Slice(IPv6.SourceOffset, 2 * IPv6.AddressLength);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(packet[IPv4.TotalLengthOffset..], (ushort)packet.Length);
            var identification = BinaryPrimitives.ReadUInt16BigEndian(packet[IPv4.IdentificationOffset..]);
            BinaryPrimitives.WriteUInt16BigEndian(packet[IPv4.IdentificationOffset..], (ushort)(identification + index));
            packet.Slice(IPv4.ChecksumOffset, sizeof(ushort)).Clear();
            MemoryMarshal.Write(packet[IPv4.ChecksumOffset..], InternetChecksum.Of(packet[..(headers.TransportOffset - headers.NetworkOffset)]));
            addresses = packet.Slice(IPv4.SourceOffset, 2 * IPv4.AddressLength);
        }

        var segment = piece[headers.TransportOffset..];
        var sequence = BinaryPrimitives.ReadUInt32BigEndian(segment[Tcp.SequenceOffset..]);
        BinaryPrimitives.WriteUInt32BigEndian(segment[Tcp.SequenceOffset..], sequence + (uint)(index * segmentSize));
        if (!isLast)
            segment[Tcp.FlagsOffset] &= unchecked((byte)~(Tcp.Fin | Tcp.Push));
        segment.Slice(Tcp.ChecksumOffset, sizeof(ushort)).Clear();
        var sum = InternetChecksum.PseudoHeader(addresses, IpProtocol.Tcp, segment.Length);
        MemoryMarshal.Write(segment[Tcp.ChecksumOffset..], (ushort)~InternetChecksum.Fold(InternetChecksum.Add(sum, segment)));
        return piece.Length;
    }
}
