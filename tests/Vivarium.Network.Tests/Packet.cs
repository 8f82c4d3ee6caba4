using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network.Tests;

/// <summary>Builds frames byte by byte, with a scalar checksum of its own: the reference for what is tested.</summary>
internal static class Packet
{
    public static ushort Checksum(ReadOnlySpan<byte> bytes, uint sum = 0)
    {
        for (var i = 0; i < bytes.Length; i++)
        {
            sum += i % 2 == 0 ? (uint)bytes[i] << 8 : bytes[i];
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        return (ushort)~((sum & 0xFFFF) + (sum >> 16));
    }

    public static ushort TransportChecksum(IPAddress source, IPAddress destination, byte protocol, ReadOnlySpan<byte> segment)
    {
        byte[] pseudo =
        [
            .. source.GetAddressBytes(), .. destination.GetAddressBytes(),
            0, (byte)(segment.Length >> 16), (byte)(segment.Length >> 8), (byte)segment.Length, 0, 0, 0, protocol,
        ];
        return Checksum(segment, (ushort)~Checksum(pseudo));
    }

    public static byte[] Ethernet(MacAddress destination, MacAddress source, ushort type, ReadOnlySpan<byte> payload)
    {
        var frame = new byte[14 + payload.Length];
        destination.CopyTo(frame);
        source.CopyTo(frame.AsSpan(6));
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), type);
        payload.CopyTo(frame.AsSpan(14));
        return frame;
    }

    /// <summary>An IP packet of either version; the transport's checksum at the given offset is filled in.</summary>
    public static byte[] Ip(IPAddress source, IPAddress destination, byte protocol, byte[] segment, int checksumAt = -1)
    {
        if (checksumAt >= 0)
        {
            segment[checksumAt] = segment[checksumAt + 1] = 0;
            const byte IcmpWithoutPseudoHeader = 1;
            var checksum = protocol == IcmpWithoutPseudoHeader ? Checksum(segment) : TransportChecksum(source, destination, protocol, segment);
            BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(checksumAt), checksum);
        }
        if (source.AddressFamily == AddressFamily.InterNetworkV6)
            return [0x60, 0, 0, 0, (byte)(segment.Length >> 8), (byte)segment.Length, protocol, 255, .. source.GetAddressBytes(), .. destination.GetAddressBytes(), .. segment];
        var length = 20 + segment.Length;
        byte[] packet =
        [
            0x45, 0, (byte)(length >> 8), (byte)length, 0, 1, 0, 0, 64, protocol, 0, 0,
            .. source.GetAddressBytes(), .. destination.GetAddressBytes(), .. segment,
        ];
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(10), Checksum(packet.AsSpan(0, 20)));
        return packet;
    }

    public static byte[] Udp(ushort sourcePort, ushort destinationPort, ReadOnlySpan<byte> payload)
    {
        var length = 8 + payload.Length;
        return [(byte)(sourcePort >> 8), (byte)sourcePort, (byte)(destinationPort >> 8), (byte)destinationPort, (byte)(length >> 8), (byte)length, 0, 0, .. payload];
    }

    public static byte[] Tcp(ushort sourcePort, ushort destinationPort, uint sequence, uint acknowledgment, byte flags, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> options = default)
    {
        byte[] segment = [.. new byte[20], .. options, .. payload];
        BinaryPrimitives.WriteUInt16BigEndian(segment, sourcePort);
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(2), destinationPort);
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(4), sequence);
        BinaryPrimitives.WriteUInt32BigEndian(segment.AsSpan(8), acknowledgment);
        segment[12] = (byte)((20 + options.Length) / 4 << 4);
        segment[13] = flags;
        BinaryPrimitives.WriteUInt16BigEndian(segment.AsSpan(14), 0xFFFF);
        return segment;
    }
}
