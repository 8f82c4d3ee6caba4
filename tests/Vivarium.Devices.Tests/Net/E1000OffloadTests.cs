using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>TCP/IP context and data descriptors: checksums, and large segments cut by the card or left to the network.</summary>
public sealed class E1000OffloadTests
{
    private const int Ip = 14, Tcp = 34, Payload = 54;
    private const ulong DataDescriptor = 1 << 20 | 1 << 29, EndOfPacket = 1 << 24, Report = 1 << 27, Segment = 1 << 26;
    private const ulong Options = 3ul << 40;

    [Fact]
    public void Both_checksums_are_put_where_the_context_says()
    {
        using var card = new E1000Machine();
        var frame = Packet(100);
        SetPseudoHeader(frame, frame.Length - Tcp);
        Context(card, 0, 0, 0);
        card.Queue(card.Machine.Put(frame), (ulong)frame.Length | DataDescriptor | EndOfPacket | Report | Options);
        card.Kick();
        Check(Assert.Single(card.Network.Sent).Frame);
    }

    [Theory]
    [InlineData(NetworkOffloads.None)]
    [InlineData(NetworkOffloads.Checksum)]
    public void The_card_cuts_a_large_segment(NetworkOffloads offloads)
    {
        using var card = new E1000Machine(offloads);
        var frame = Packet(2500);
        Send(card, frame);
        Assert.Equal(3, card.Network.Sent.Count);
        var payload = new List<byte>();
        for (var i = 0; i < 3; i++)
        {
            var piece = card.Network.Sent[i].Frame;
            Assert.Equal(default, card.Network.Sent[i].Offload);
            Assert.Equal(piece.Length - Ip, Field(piece, Ip + 2));
            Assert.Equal(7 + i, Field(piece, Ip + 4));
            Assert.Equal(0x01020304u + (uint)payload.Count, BinaryPrimitives.ReadUInt32BigEndian(piece.AsSpan(Tcp + 4)));

            // PSH and FIN belong to the last.
            Assert.Equal(i == 2 ? 0x19 : 0x10, piece[Tcp + 13]);
            Check(piece);
            payload.AddRange(piece[Payload..]);
        }

        Assert.Equal(frame[Payload..], payload);
    }

    [Fact]
    public void A_network_that_can_cut_gets_the_large_segment()
    {
        using var card = new E1000Machine();
        var frame = Packet(30_000);
        Send(card, frame);
        var (sent, offload) = Assert.Single(card.Network.Sent);
        Assert.Equal(frame.Length, sent.Length);
        Assert.Equal(sent.Length - Ip, Field(sent, Ip + 2));
        Assert.Equal(0, Sum(sent.AsSpan(Ip, 20)));
        Assert.Equal(new FrameOffload { Flags = 1, GsoType = 1, HeaderLength = Payload, GsoSize = 1000, ChecksumStart = Tcp, ChecksumOffset = 16 }, offload);
    }

    [Fact]
    public void A_large_UDP_packet_is_cut_by_the_card()
    {
        using var card = new E1000Machine();
        var frame = Packet(1500);
        Context(card, 1000, 42, frame.Length - 42, isTcp: false);
        card.Queue(card.Machine.Put(frame), (ulong)frame.Length | DataDescriptor | EndOfPacket | Segment);
        card.Kick();
        Assert.Equal([1042, frame.Length - 1000], card.Network.Sent.Select(sent => sent.Frame.Length));
        Assert.Equal(1008, Field(card.Network.Sent[0].Frame, Tcp + 4));
    }

    private static void Send(E1000Machine card, byte[] frame)
    {
        // The driver leaves the length out of the pseudo header.
        SetPseudoHeader(frame, 0);
        Context(card, 1000, Payload, frame.Length - Payload);
        card.Queue(card.Machine.Put(frame.AsSpan(0, 60)), 60 | DataDescriptor | Segment | Options);
        card.Queue(card.Machine.Put(frame.AsSpan(60)), (ulong)(frame.Length - 60) | DataDescriptor | EndOfPacket | Report | Segment);
        card.Kick();
    }

    private static void Context(E1000Machine card, int segment, int header, int payload, bool isTcp = true)
    {
        ulong low = Ip | (Ip + 10) << 8 | (Tcp - 1) << 16 | (ulong)Tcp << 32 | (ulong)(Tcp + 16) << 40;
        var high = (ulong)payload | 1ul << 29 | (isTcp ? 1ul << 24 : 0) | 1ul << 25 | (segment != 0 ? Segment : 0) | (ulong)header << 40 | (ulong)segment << 48;
        card.Queue(low, high);
    }

    private static byte[] Packet(int payload)
    {
        var frame = E1000Machine.Frame([2, 0, 0, 0, 0, 1], Payload + payload);
        byte[] headers =
        [
            0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2,
            0x30, 0x39, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x19, 0x10, 0, 0, 0, 0, 0,
        ];
        headers.CopyTo(frame, Ip);
        return frame;
    }

    private static void SetPseudoHeader(byte[] frame, int length)
    {
        byte[] pseudo = [.. frame[26..34], 0, 6, (byte)(length >> 8), (byte)length];
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(Tcp + 16), (ushort)~Sum(pseudo));
    }

    private static void Check(byte[] frame)
    {
        Assert.Equal(0, Sum(frame.AsSpan(Ip, 20)));
        var length = frame.Length - Tcp;
        byte[] covered = [.. frame[26..34], 0, 6, (byte)(length >> 8), (byte)length, .. frame[Tcp..]];
        Assert.Equal(0, Sum(covered));
    }

    private static int Field(byte[] frame, int offset) => BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(offset));

    private static int Sum(ReadOnlySpan<byte> bytes)
    {
        var sum = 0;
        for (var i = 0; i < bytes.Length; i++)
            sum += bytes[i] << (i % 2 == 0 ? 8 : 0);
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return ~sum & 0xFFFF;
    }
}
