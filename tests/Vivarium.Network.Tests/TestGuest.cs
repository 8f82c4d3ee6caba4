using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network.Tests;

/// <summary>A tiny guest: one card, one address of each version, answers ARP and neighbour solicitations.</summary>
internal sealed unsafe class TestGuest : INetworkSink
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    public static readonly MacAddress Mac = MacAddress.Parse("52:54:00:12:34:56");
    private static readonly MacAddress Broadcast = new(0xFFFF_FFFF_FFFF);

    private volatile bool _full;
    private readonly INetworkBackend _network;
    private readonly BlockingCollection<byte[]> _received = [];
    private readonly ConcurrentDictionary<IPAddress, MacAddress> _neighbours = [];

    public TestGuest(INetworkBackend network)
    {
        _network = network;
        network.Attach(this);
    }

    public IPAddress Address { get; set; } = UserNetworkAddresses.Guest;

    /// <summary>Where packets over IPv4 go first.</summary>
    public IPAddress Router { get; init; } = UserNetworkAddresses.Router;

    public IPAddress Address6 { get; } = IPAddress.Parse("fec0::5054:ff:fe12:3456");

    /// <summary>While set, the guest has no buffers.</summary>
    public bool Full { get => _full; set => _full = value; }

    public long BytesReceived;

    public int Refused;

    bool INetworkSink.TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        if (Full)
        {
            Interlocked.Increment(ref Refused);
            return false;
        }
        BytesReceived += frame.Length;
        _received.Add(frame.ToArray());
        return true;
    }

    void INetworkSink.Flush()
    {
    }

    public void SendFrame(byte[] frame, FrameOffload offload = default)
    {
        // In two pieces, as a card's descriptors have it.
        fixed (byte* first = frame)
        {
            var cut = Math.Min(frame.Length, 20);
            Span<FrameSegment> segments = [new(first, (nuint)cut), new(first + cut, (nuint)(frame.Length - cut))];
            _network.Send(segments, offload);
        }
        _network.Flush();
    }

    public byte[] ReceiveFrame(Func<byte[], bool> wanted)
    {
        while (true)
        {
            if (!_received.TryTake(out var frame, Patience))
                throw new TimeoutException("The guest got no such frame.");
            AnswerNeighbours(frame);
            if (wanted(frame))
                return frame;
        }
    }

    /// <summary>The next frame that was there already.</summary>
    public byte[]? TryReceiveNow() => _received.TryTake(out var frame) ? frame : null;

    public (IPAddress Address, IPAddress Router, IPAddress NameServer) Dhcp()
    {
        byte[] Message(byte type, byte[] options)
        {
            var bootp = new byte[240];
            bootp[0] = 1;
            bootp[1] = 1;
            bootp[2] = 6;
            bootp[7] = 0x42;
            Mac.CopyTo(bootp.AsSpan(28));
            BinaryPrimitives.WriteUInt32BigEndian(bootp.AsSpan(236), 0x63825363);
            return [.. bootp, 53, 1, type, .. options, 255, .. new byte[60]];
        }
        byte[] Exchange(byte[] message)
        {
            SendFrame(Packet.Ethernet(Broadcast, Mac, 0x0800, Packet.Ip(IPAddress.Any, IPAddress.Broadcast, 17, Packet.Udp(68, 67, message), 6)));
            return ReceiveFrame(f => f.Length > 14 + 20 + 8 + 240 && f[23] == 17 && f[37] == 68)[42..];
        }
        var offer = Exchange(Message(1, []));
        var address = offer[16..20];
        var acknowledge = Exchange(Message(3, [50, 4, .. address]));
        IPAddress? router = null, nameServer = null;
        for (var i = 240; acknowledge[i] != 255; i += acknowledge[i] == 0 ? 1 : 2 + acknowledge[i + 1])
        {
            if (acknowledge[i] == 3)
                router = new(acknowledge.AsSpan(i + 2, 4));
            if (acknowledge[i] == 6)
                nameServer = new(acknowledge.AsSpan(i + 2, 4));
        }
        Address = new(acknowledge.AsSpan(16, 4));
        return (Address, router!, nameServer!);
    }

    public MacAddress Resolve(IPAddress address)
    {
        if (_neighbours.TryGetValue(address, out var known))
            return known;
        if (address.AddressFamily == AddressFamily.InterNetwork)
        {
            byte[] request = [0, 1, 8, 0, 6, 4, 0, 1, .. Bytes(Mac), .. Address.GetAddressBytes(), 0, 0, 0, 0, 0, 0, .. address.GetAddressBytes()];
            SendFrame(Packet.Ethernet(Broadcast, Mac, 0x0806, request));
            var reply = ReceiveFrame(f => f.Length >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 && f.AsSpan(28, 4).SequenceEqual(address.GetAddressBytes()));
            return _neighbours[address] = ReadMac(reply.AsSpan(22));
        }
        byte[] solicitation = [135, 0, 0, 0, 0, 0, 0, 0, .. address.GetAddressBytes(), 1, 1, .. Bytes(Mac)];
        var group = IPAddress.Parse("ff02::1:ff00:0").GetAddressBytes();
        address.GetAddressBytes().AsSpan(13).CopyTo(group.AsSpan(13));
        SendFrame(Packet.Ethernet(new(0x3333_FF00_0000), Mac, 0x86DD, Packet.Ip(Address6, new(group), 58, solicitation, 2)));
        var advertisement = ReceiveFrame(f => f.Length >= 86 && f[12] == 0x86 && f[20] == 58 && f[54] == 136 && f.AsSpan(62, 16).SequenceEqual(address.GetAddressBytes()));
        return _neighbours[address] = ReadMac(advertisement.AsSpan(80));
    }

    public void Send(IPAddress destination, byte protocol, byte[] segment, int checksumAt, FrameOffload offload = default) =>
        SendFrame(FrameTo(destination, protocol, segment, checksumAt), offload);

    public byte[] FrameTo(IPAddress destination, byte protocol, byte[] segment, int checksumAt)
    {
        var v4 = destination.AddressFamily == AddressFamily.InterNetwork;
        var nextHop = v4 ? Router : UserNetworkAddresses.Router6;
        return Packet.Ethernet(Resolve(nextHop), Mac, v4 ? (ushort)0x0800 : (ushort)0x86DD,
            Packet.Ip(v4 ? Address : Address6, destination, protocol, segment, checksumAt));
    }

    public void SendUdp(IPAddress destination, ushort sourcePort, ushort destinationPort, byte[] payload) =>
        Send(destination, 17, Packet.Udp(sourcePort, destinationPort, payload), 6);

    public byte[] ReceiveUdp(ushort port) => ReceiveUdp(port, out _);

    public byte[] ReceiveUdp(ushort port, out ushort from)
    {
        var frame = ReceiveFrame(f => Is(f, 17, port));
        var headers = FrameHeaders.Parse(frame);
        from = headers.SourcePort;
        return frame[(headers.TransportOffset + 8)..headers.End];
    }

    /// <summary>Sends an echo request and waits for the reply to it.</summary>
    public byte[] Ping(IPAddress destination, byte[] payload)
    {
        var v4 = destination.AddressFamily == AddressFamily.InterNetwork;
        Send(destination, v4 ? (byte)1 : (byte)58, [v4 ? (byte)8 : (byte)128, 0, 0, 0, 0x12, 0x34, 0, 1, .. payload], 2);
        var frame = ReceiveFrame(f => FrameHeaders.Parse(f) is { Kind: FrameKind.IPv4 or FrameKind.IPv6 } h
            && h.Protocol == (v4 ? 1 : 58) && f[h.TransportOffset] == (v4 ? 0 : 129));
        var headers = FrameHeaders.Parse(frame);
        return frame[(headers.TransportOffset + 8)..headers.End];
    }

    public TestConnection Connect(IPAddress destination, ushort port, ushort localPort = 40000, int mss = 65480)
    {
        var connection = new TestConnection(this, destination, port, localPort);
        connection.Open(mss);
        return connection;
    }

    public TestConnection Accept(ushort port)
    {
        var frame = ReceiveFrame(f => Is(f, 6, port) && (f[FrameHeaders.Parse(f).TransportOffset + 13] & 0x12) == 2);
        var headers = FrameHeaders.Parse(frame);
        var connection = new TestConnection(this, new(headers.Source(frame)), headers.SourcePort, port);
        connection.Accept(BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(headers.TransportOffset + 4)));
        return connection;
    }

    public static bool Is(byte[] frame, byte protocol, ushort port) =>
        FrameHeaders.Parse(frame) is { HasPorts: true } h && h.Protocol == protocol && h.DestinationPort == port;

    private void AnswerNeighbours(byte[] frame)
    {
        var headers = FrameHeaders.Parse(frame);
        if (headers.Kind == FrameKind.Arp && frame[21] == 1 && frame.AsSpan(38, 4).SequenceEqual(Address.GetAddressBytes()))
        {
            byte[] reply = [0, 1, 8, 0, 6, 4, 0, 2, .. Bytes(Mac), .. Address.GetAddressBytes(), .. frame[22..32]];
            SendFrame(Packet.Ethernet(ReadMac(frame.AsSpan(6)), Mac, 0x0806, reply));
        }
        if (headers.IsIPv6 && headers.Protocol == 58 && frame[headers.TransportOffset] == 135
            && frame.AsSpan(headers.TransportOffset + 8, 16).SequenceEqual(Address6.GetAddressBytes()))
        {
            byte[] advertisement = [136, 0, 0, 0, 0x60, 0, 0, 0, .. Address6.GetAddressBytes(), 2, 1, .. Bytes(Mac)];
            SendFrame(Packet.Ethernet(ReadMac(frame.AsSpan(6)), Mac, 0x86DD, Packet.Ip(Address6, new(headers.Source(frame)), 58, advertisement, 2)));
        }
    }

    private static byte[] Bytes(MacAddress mac)
    {
        var bytes = new byte[6];
        mac.CopyTo(bytes);
        return bytes;
    }

    private static MacAddress ReadMac(ReadOnlySpan<byte> bytes) =>
        new((ulong)BinaryPrimitives.ReadUInt16BigEndian(bytes) << 32 | BinaryPrimitives.ReadUInt32BigEndian(bytes[2..]));
}
