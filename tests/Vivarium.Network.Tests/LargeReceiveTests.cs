using System.Buffers.Binary;
using System.Net;

namespace Vivarium.Network.Tests;

public sealed class LargeReceiveTests
{
    private const NetworkOffloads All = NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    [Theory]
    [InlineData("10.0.2.15", "192.0.2.1", 1460)]
    [InlineData("fec0::15", "2001:db8::1", 1440)]
    public void The_mss_of_a_syn_is_raised_if_it_is_what_the_mtu_allows(string source, string destination, int mss)
    {
        var syn = Syn(source, destination, mss, out var at);
        new LargeReceive(1500) { Accepted = All }.FromGuest(syn);
        Assert.Equal(32768, BinaryPrimitives.ReadUInt16BigEndian(syn.AsSpan(at)));
        var headers = FrameHeaders.Parse(syn);
        Assert.Equal(0, Packet.TransportChecksum(new(headers.Source(syn)), new(headers.Destination(syn)), 6, syn.AsSpan(headers.TransportOffset)));
    }

    [Fact]
    public void A_smaller_mss_stays_and_is_what_the_guest_gets()
    {
        var syn = Syn("10.0.2.15", "192.0.2.1", 1360, out _);
        var before = (byte[])syn.Clone();
        var large = new LargeReceive(1500) { Accepted = All };
        large.FromGuest(syn);
        Assert.Equal(before, syn);
        Assert.True(large.IsLarge(Frame("192.0.2.1", "10.0.2.15", Packet.Tcp(80, 4000, 1, 2, 16, new byte[1361])), out _, out _, out var size));
        Assert.Equal(1360, size);
        Assert.False(large.IsLarge(Frame("192.0.2.1", "10.0.2.15", Packet.Tcp(80, 4001, 1, 2, 16, new byte[1361])), out _, out _, out _));
    }

    [Theory]
    [InlineData("192.0.2.1", "10.0.2.15", FrameOffload.GsoTcpV4, 1460, 34)]
    [InlineData("2001:db8::1", "fec0::15", FrameOffload.GsoTcpV6, 1440, 54)]
    public void A_large_segment_is_declared_as_joined(string source, string destination, byte type, int size, int transport)
    {
        var frame = Frame(source, destination, Packet.Tcp(80, 4000, 1, 2, 16, new byte[20000]));
        var whole = (byte[])frame.Clone();
        var offload = new FrameOffload { Flags = FrameOffload.DataValid };
        var large = new LargeReceive(1500) { Accepted = All };
        Assert.True(large.IsLarge(frame, out var headers, out var payload, out var segmentSize));
        Assert.True(large.TryDeclare(frame, headers, payload, segmentSize, ref offload));
        Assert.Equal(
            new FrameOffload
            {
                Flags = FrameOffload.NeedsChecksum,
                GsoType = type,
                GsoSize = (ushort)size,
                HeaderLength = (ushort)(transport + 20),
                ChecksumStart = (ushort)transport,
                ChecksumOffset = 16,
            },
            offload);
        Assert.True(ChecksumCompletion.Complete(frame, offload with { GsoType = FrameOffload.GsoNone }));
        Assert.Equal(whole, frame);
    }

    [Theory]
    [InlineData(NetworkOffloads.None)]
    [InlineData(NetworkOffloads.Tso4)]
    [InlineData(NetworkOffloads.Checksum | NetworkOffloads.Tso6)]
    public void A_guest_that_does_not_take_joined_segments_is_not_given_them(NetworkOffloads accepted)
    {
        var frame = Frame("192.0.2.1", "10.0.2.15", Packet.Tcp(80, 4000, 1, 2, 16, new byte[20000]));
        var offload = new FrameOffload();
        var large = new LargeReceive(1500) { Accepted = accepted };
        Assert.True(large.IsLarge(frame, out var headers, out var payload, out var size));
        Assert.False(large.TryDeclare(frame, headers, payload, size, ref offload));
    }

    [Theory]
    [InlineData("192.0.2.1", "10.0.2.15")]
    [InlineData("2001:db8::1", "fec0::15")]
    public void A_segment_is_cut_into_whole_ones(string source, string destination)
    {
        var data = new byte[5000];
        new Random(1).NextBytes(data);
        const byte FinPushAck = 0x19;
        var frame = Frame(source, destination, Packet.Tcp(80, 4000, 1_000_000, 2, FinPushAck, data, [1, 1, 1, 0]));
        Assert.True(new LargeReceive(1500).IsLarge(frame, out var headers, out var payload, out var size));
        var count = TcpSegmentation.Count(headers.End - payload, size);
        Assert.Equal(4, count);
        var joined = new List<byte>();
        for (var i = 0; i < count; i++)
        {
            var piece = new byte[1514];
            piece = piece[..TcpSegmentation.Write(frame, headers, payload, size, i, piece)];
            var parts = FrameHeaders.Parse(piece);
            Assert.Equal(piece.Length, parts.End);
            var segment = piece.AsSpan(parts.TransportOffset);
            Assert.Equal(0, Packet.TransportChecksum(new(parts.Source(piece)), new(parts.Destination(piece)), 6, segment));
            if (!parts.IsIPv6)
                Assert.Equal(0, Packet.Checksum(piece.AsSpan(14, 20)));
            Assert.Equal(1_000_000u + (uint)joined.Count, BinaryPrimitives.ReadUInt32BigEndian(segment[4..]));
            Assert.Equal(i == count - 1 ? FinPushAck : 0x10, segment[13]);
            joined.AddRange(segment[24..]);
        }
        Assert.Equal(data, joined);
    }

    [Fact]
    public void A_segment_of_the_usual_size_stays_as_it_is() =>
        Assert.False(new LargeReceive(1500).IsLarge(Frame("192.0.2.1", "10.0.2.15", Packet.Tcp(80, 4000, 1, 2, 16, new byte[1460])), out _, out _, out _));

    private static byte[] Syn(string source, string destination, int mss, out int at)
    {
        // No-operations first, so that the option lies where some stacks put it.
        var frame = Frame(source, destination, Packet.Tcp(4000, 80, 1, 0, 2, [], [1, 1, 2, 4, (byte)(mss >> 8), (byte)mss, 0, 0]));
        at = FrameHeaders.Parse(frame).TransportOffset + 24;
        return frame;
    }

    private static byte[] Frame(string source, string destination, byte[] segment)
    {
        var from = IPAddress.Parse(source);
        var type = from.GetAddressBytes().Length == 4 ? (ushort)0x0800 : (ushort)0x86DD;
        return Packet.Ethernet(new(1), new(2), type, Packet.Ip(from, IPAddress.Parse(destination), 6, segment, 16));
    }
}
