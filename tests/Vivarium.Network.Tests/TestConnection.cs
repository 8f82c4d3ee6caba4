using System.Buffers.Binary;
using System.Net;

namespace Vivarium.Network.Tests;

/// <summary>One TCP connection of the test guest: no retransmission, for nothing gets lost in these tests.</summary>
internal sealed class TestConnection(TestGuest guest, IPAddress peer, ushort peerPort, ushort localPort)
{
    private const byte Fin = 1;
    private const byte Syn = 2;
    private const byte Reset = 4;
    private const byte Ack = 16;
    private uint _next = 1000;
    private uint _acknowledged = 1000;
    private uint _expected;

    /// <summary>The peer has closed.</summary>
    public bool Ended { get; private set; }

    public int LargestSegment { get; private set; }

    public void Open(int mss)
    {
        guest.Send(peer, 6, Packet.Tcp(localPort, peerPort, _next++, 0, Syn, [], [2, 4, (byte)(mss >> 8), (byte)mss]), 16);
        var (flags, sequence, _) = ReceiveSegment();
        if ((flags & Reset) != 0)
            throw new IOException("The connection was refused.");
        Assert.Equal(Syn | Ack, flags & (Syn | Ack));
        _expected = sequence + 1;
        SendSegment(Ack, []);
    }

    public void Accept(uint sequence)
    {
        _expected = sequence + 1;
        guest.Send(peer, 6, Packet.Tcp(localPort, peerPort, _next++, _expected, Syn | Ack, [], [2, 4, 0x05, 0xB4]), 16);
    }

    /// <summary>Sends, and waits until all is acknowledged.</summary>
    public void Send(byte[] bytes, int segment = 1460)
    {
        for (var at = 0; at < bytes.Length; at += segment)
        {
            var part = bytes.AsSpan(at, Math.Min(segment, bytes.Length - at));
            SendSegment(Ack, part);
            _next += (uint)part.Length;
            while (_acknowledged != _next)
                ReceiveSegment();
        }
    }

    /// <summary>Sends one segment with the checksum left to the network, as cards with offloads do.</summary>
    public void SendOffloaded(byte[] bytes)
    {
        var segment = Packet.Tcp(localPort, peerPort, _next, _expected, Ack, bytes);
        var frame = guest.FrameTo(peer, 6, segment, -1);
        var v4 = peer.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork;
        var transport = v4 ? 34 : 54;
        guest.SendFrame(frame, new()
        {
            Flags = FrameOffload.NeedsChecksum,
            GsoType = v4 ? FrameOffload.GsoTcpV4 : FrameOffload.GsoTcpV6,
            GsoSize = 1460,
            HeaderLength = (ushort)(transport + 20),
            ChecksumStart = (ushort)transport,
            ChecksumOffset = 16,
        });
        _next += (uint)bytes.Length;
        while (_acknowledged != _next)
            ReceiveSegment();
    }

    public byte[] Receive(int count)
    {
        var result = new byte[count];
        for (var at = 0; at < count;)
        {
            var (_, _, payload) = ReceiveSegment();
            payload.CopyTo(result, at);
            at += payload.Length;
        }
        return result;
    }

    public void Close() => SendSegment(Ack | Fin, []);

    private void SendSegment(byte flags, ReadOnlySpan<byte> payload) =>
        guest.Send(peer, 6, Packet.Tcp(localPort, peerPort, _next, _expected, flags, payload), 16);

    private (byte Flags, uint Sequence, byte[] Payload) ReceiveSegment()
    {
        var frame = guest.ReceiveFrame(f => TestGuest.Is(f, 6, localPort) && FrameHeaders.Parse(f).SourcePort == peerPort);
        var headers = FrameHeaders.Parse(frame);
        var segment = frame.AsSpan(headers.TransportOffset..headers.End);
        var sequence = BinaryPrimitives.ReadUInt32BigEndian(segment[4..]);
        var flags = segment[13];
        if ((flags & Ack) != 0)
            _acknowledged = BinaryPrimitives.ReadUInt32BigEndian(segment[8..]);
        var payload = segment[((segment[12] >> 4) * 4)..].ToArray();
        LargestSegment = Math.Max(LargestSegment, payload.Length);
        if ((payload.Length > 0 || (flags & Fin) != 0) && (flags & Syn) == 0)
        {
            if (sequence != _expected)
                payload = [];
            _expected += (uint)payload.Length + ((flags & Fin) != 0 ? 1u : 0);
            Ended |= (flags & Fin) != 0;
            SendSegment(Ack, []);
        }
        return (flags, sequence, payload);
    }
}
