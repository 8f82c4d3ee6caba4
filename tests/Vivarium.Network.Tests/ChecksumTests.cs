using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;
using CsCheck;

namespace Vivarium.Network.Tests;

public sealed class ChecksumTests
{
    private static readonly IPAddress A4 = IPAddress.Parse("10.0.2.15");
    private static readonly IPAddress B4 = IPAddress.Parse("192.0.2.9");
    private static readonly IPAddress A6 = IPAddress.Parse("fec0::15");
    private static readonly IPAddress B6 = IPAddress.Parse("2001:db8::9");

    [Fact]
    public void The_vector_sum_equals_the_scalar_reference() =>
        Gen.Byte.Array[0, 2000].Sample(bytes => Assert.Equal(Packet.Checksum(bytes), Stored(InternetChecksum.Of(bytes))), iter: 20_000);

    [Fact]
    public void The_sum_of_the_longest_frame_does_not_overflow()
    {
        var bytes = new byte[Ethernet.MaximumFrame];
        bytes.AsSpan().Fill(0xFF);
        Assert.Equal(Packet.Checksum(bytes), Stored(InternetChecksum.Of(bytes)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_begun_checksum_is_completed(bool v4) =>
        Gen.Select(Gen.Byte.Array[0, 1500], Gen.Bool).Sample((payload, tcp) =>
        {
            var (whole, offload) = Begun(v4, tcp, payload, FrameOffload.GsoNone, out var begun);
            Assert.True(ChecksumCompletion.Complete(begun, offload));
            Assert.Equal(whole, begun);
        }, iter: 5_000);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_large_segments_checksum_is_made_whatever_the_driver_began_with(bool v4)
    {
        var (whole, offload) = Begun(v4, tcp: true, new byte[60000], v4 ? FrameOffload.GsoTcpV4 : FrameOffload.GsoTcpV6, out var begun);
        begun[offload.ChecksumStart + 16] ^= 0x55;
        Assert.True(ChecksumCompletion.Complete(begun, offload));
        Assert.Equal(whole, begun);
    }

    [Fact]
    public void A_checksum_that_does_not_lie_in_the_frame_is_refused() =>
        Gen.Select(Gen.Byte.Array[0, 200], Gen.UShort, Gen.UShort, Gen.Byte).Sample((frame, start, offset, gso) =>
        {
            var fits = ChecksumCompletion.Complete(frame, new() { Flags = FrameOffload.NeedsChecksum, ChecksumStart = start, ChecksumOffset = offset, GsoType = gso });
            Assert.True(!fits || start + offset + 2 <= frame.Length);
        }, iter: 100_000);

    [Fact]
    public void An_updated_checksum_equals_one_made_anew() =>
        Gen.Select(Gen.Byte.Array[20, 60], Gen.UShort, Gen.Int[0, 8]).Sample((bytes, value, word) =>
        {
            bytes[18] = bytes[19] = 0;
            MemoryMarshal.Write(bytes.AsSpan(18), InternetChecksum.Of(bytes));
            var field = bytes.AsSpan(2 * word, 2);
            var before = InternetChecksum.Add(0, field);
            BinaryPrimitives.WriteUInt16BigEndian(field, value);
            InternetChecksum.Update(bytes.AsSpan(18), before, InternetChecksum.Add(0, field));
            Assert.Equal(0, Packet.Checksum(bytes));
        }, iter: 20_000);

    private static ushort Stored(ushort checksum) => BinaryPrimitives.ReverseEndianness(checksum);

    private static (byte[] Whole, FrameOffload Offload) Begun(bool v4, bool tcp, byte[] payload, byte gso, out byte[] begun)
    {
        var (source, destination) = v4 ? (A4, B4) : (A6, B6);
        var segment = tcp ? Packet.Tcp(1, 2, 3, 4, 16, payload) : Packet.Udp(1, 2, payload);
        var protocol = tcp ? (byte)6 : (byte)17;
        var at = tcp ? 16 : 6;
        var whole = Packet.Ethernet(new(1), new(2), v4 ? (ushort)0x0800 : (ushort)0x86DD, Packet.Ip(source, destination, protocol, segment, at));
        var transport = v4 ? 34 : 54;
        if (BinaryPrimitives.ReadUInt16BigEndian(whole.AsSpan(transport + at)) == 0)
            whole.AsSpan(transport + at, 2).Fill(0xFF);
        begun = (byte[])whole.Clone();
        byte[] pseudo = [.. source.GetAddressBytes(), .. destination.GetAddressBytes(), 0, (byte)(segment.Length >> 16), (byte)(segment.Length >> 8), (byte)segment.Length, 0, 0, 0, protocol];
        BinaryPrimitives.WriteUInt16BigEndian(begun.AsSpan(transport + at), (ushort)~Packet.Checksum(pseudo));
        return (whole, new() { Flags = FrameOffload.NeedsChecksum, GsoType = gso, ChecksumStart = (ushort)transport, ChecksumOffset = (ushort)at });
    }
}
