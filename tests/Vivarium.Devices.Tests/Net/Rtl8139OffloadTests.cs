using System.Buffers.Binary;
using static Vivarium.Devices.Tests.Rtl8139Machine;

namespace Vivarium.Devices.Tests;

/// <summary>Checksums and large segments of the C+ mode.</summary>
public sealed class Rtl8139OffloadTests
{
    private const uint LargeSend = 1 << 27, IpChecksum = 1 << 18, UdpChecksum = 1 << 17, TcpChecksum = 1 << 16;

    [Theory]
    [InlineData(6, TcpChecksum)]
    [InlineData(17, UdpChecksum)]
    public void Checksums_are_put_in(byte protocol, uint flag)
    {
        using var card = new Rtl8139Machine();
        card.StartPlus();
        var frame = Packet(protocol, 301);
        card.Queue(0, frame, First | Last | IpChecksum | flag);
        card.Queue(1, frame, First | Last);
        card.Byte(Tppoll, 0x40);
        var sent = card.Network.Sent[0].Frame;
        Assert.Equal(0, Sum(sent.AsSpan(14, 20)));
        Assert.Equal(0, TransportSum(sent));
        Assert.Equal(frame, card.Network.Sent[1].Frame);
    }

    [Fact]
    public void Bytes_behind_the_packet_are_not_summed()
    {
        using var card = new Rtl8139Machine();
        card.StartPlus();
        var frame = new byte[60];
        Packet(17, 2).CopyTo(frame, 0);
        frame.AsSpan(50).Fill(0xEE);
        card.Queue(0, frame, First | Last | IpChecksum | UdpChecksum);
        card.Byte(Tppoll, 0x40);
        Assert.Equal(0, TransportSum(card.Network.Sent[0].Frame));
    }

    [Fact]
    public void A_large_segment_is_left_to_a_network_that_can_cut()
    {
        using var card = new Rtl8139Machine();
        card.StartPlus();
        card.Queue(0, Packet(6, 5000), First | Last | LargeSend | 1000 << 16);
        card.Byte(Tppoll, 0x40);
        var (frame, offload) = Assert.Single(card.Network.Sent);
        Assert.Equal(54 + 5000, frame.Length);
        Assert.Equal(FrameOffload.GsoTcpV4, offload.GsoType);
        Assert.Equal(1000, offload.GsoSize);
        Assert.Equal(54, offload.HeaderLength);
    }

    [Fact]
    public void A_large_segment_is_cut_for_a_network_that_cannot()
    {
        using var card = new Rtl8139Machine(NetworkOffloads.None);
        card.StartPlus();
        var packet = Packet(6, 2500);
        packet[14 + 20 + 13] = 0x19;
        card.Queue(0, packet.AsSpan(0, 54), First | LargeSend | 1000 << 16);
        card.Queue(1, packet.AsSpan(54), Last | LargeSend | 1000 << 16);
        card.Byte(Tppoll, 0x40);
        Assert.Equal([1054, 1054, 554], card.Network.Sent.Select(sent => sent.Frame.Length));
        Assert.Equal(packet[54..], card.Network.Sent.SelectMany(sent => sent.Frame[54..]));
        for (var i = 0; i < 3; i++)
        {
            var frame = card.Network.Sent[i].Frame;
            Assert.Equal(0, Sum(frame.AsSpan(14, 20)));
            Assert.Equal(0, TransportSum(frame));
            Assert.Equal(7u + (uint)i * 1000, BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38)));
            Assert.Equal(i == 2 ? 0x19 : 0x10, frame[47]);
        }
    }

    [Fact]
    public void Verified_checksums_are_reported_and_others_left_to_the_guest()
    {
        using var card = new Rtl8139Machine();
        card.StartPlus(features: 0x20);
        Assert.True(card.Network.Bring(Packet(6, 100), new FrameOffload { Flags = FrameOffload.DataValid }));
        Assert.True(card.Network.Bring(Packet(17, 100), new FrameOffload { Flags = FrameOffload.DataValid }));
        Assert.True(card.Network.Bring(Packet(6, 100)));
        Assert.Equal([1u, 2u, 0u], Enumerable.Range(0, 3).Select(i => card.Received(i, 0).Control >> 16 & 3));
    }

    /// <summary>TCP or UDP over IPv4 to our card, with nonsense for checksums.</summary>
    private static byte[] Packet(byte protocol, int payload)
    {
        var transport = protocol == 6 ? 20 : 8;
        var frame = new byte[34 + transport + payload];
        new Random(payload).NextBytes(frame);
        Mac.CopyTo(frame, 0);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), 0x0800);
        frame[14] = 0x45;
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(16), (ushort)(20 + transport + payload));
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(20), 0);
        frame[23] = protocol;
        if (protocol == 6)
        {
            BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(38), 7);
            frame[46] = 0x50;
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(38), (ushort)(8 + payload));
        }

        return frame;
    }

    private static ushort TransportSum(ReadOnlySpan<byte> frame)
    {
        var length = BinaryPrimitives.ReadUInt16BigEndian(frame[16..]) - 20;
        byte[] bytes = [.. frame.Slice(26, 8), 0, frame[23], (byte)(length >> 8), (byte)length, .. frame.Slice(34, length)];
        return Sum(bytes);
    }

    private static ushort Sum(ReadOnlySpan<byte> bytes)
    {
        uint sum = 0;
        for (var i = 0; i < bytes.Length; i++)
            sum += (uint)bytes[i] << (i % 2 == 0 ? 8 : 0);
        while (sum > 0xFFFF)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)~sum;
    }
}
