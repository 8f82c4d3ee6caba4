using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Leads what the guest sends to its name server over IPv4 to another resolver, and the answers back, by writing the
/// addresses and ports over. It keeps no state, so it serves UDP and TCP alike.
/// </summary>
internal sealed class ResolverRedirection
{
    private const int PortLength = 2;

    private readonly byte[] _nameServer = UserNetworkAddresses.NameServer.GetAddressBytes();
    private readonly byte[] _resolver;
    private readonly ushort _port;

    public ResolverRedirection(IPEndPoint resolver)
    {
        if (resolver.AddressFamily != AddressFamily.InterNetwork)
            throw new NetworkException($"The resolver {resolver} has an IPv6 address; give one with an IPv4 address.");

        // In libslirp's network the host's loopback is behind the router's address.
        _resolver = (IPAddress.IsLoopback(resolver.Address) ? UserNetworkAddresses.Router : resolver.Address).GetAddressBytes();
        _port = (ushort)resolver.Port;
    }

    public void FromGuest(Span<byte> frame) =>
        Rewrite(frame, IPv4.DestinationOffset, PortLength, _nameServer, DnsMessage.Port, _resolver, _port);

    public void ToGuest(Span<byte> frame) =>
        Rewrite(frame, IPv4.SourceOffset, 0, _resolver, _port, _nameServer, DnsMessage.Port);

    private static void Rewrite(Span<byte> frame, int addressAt, int portAt, byte[] oldAddress, ushort oldPort, byte[] newAddress, ushort newPort)
    {
        if (!FrameHeaders.TryParse(frame, out var headers) || headers.IsIPv6 || headers.IsFragment || !headers.HasPorts)
            return;
        var address = frame.Slice(headers.NetworkOffset + addressAt, IPv4.AddressLength);
        var port = frame.Slice(headers.TransportOffset + portAt, PortLength);
        if (!address.SequenceEqual(oldAddress) || BinaryPrimitives.ReadUInt16BigEndian(port) != oldPort)
            return;
        var transportChecksum = frame[(headers.TransportOffset + (headers.Protocol == IpProtocol.Tcp ? Tcp.ChecksumOffset : Udp.ChecksumOffset))..];
        var networkChecksum = frame[(headers.NetworkOffset + IPv4.ChecksumOffset)..];
        var old = InternetChecksum.Add(0, address);
        var oldWithPort = InternetChecksum.Add(old, port);
        newAddress.CopyTo(address);
        BinaryPrimitives.WriteUInt16BigEndian(port, newPort);
        var changed = InternetChecksum.Add(0, address);
        InternetChecksum.Update(networkChecksum, old, changed);
        if (headers.Protocol == IpProtocol.Tcp || MemoryMarshal.Read<ushort>(transportChecksum) != 0)
            InternetChecksum.Update(transportChecksum, oldWithPort, InternetChecksum.Add(changed, port));
    }
}
