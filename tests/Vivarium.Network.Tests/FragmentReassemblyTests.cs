using System.Net;
using CsCheck;

namespace Vivarium.Network.Tests;

public sealed class FragmentReassemblyTests
{
    [Theory]
    [InlineData(1480, 4000)]
    [InlineData(8, 100)]
    [InlineData(1480, 65507)]
    public void Fragments_in_order_become_the_packet(int unit, int payload)
    {
        var data = new byte[payload];
        new Random(1).NextBytes(data);
        var whole = Frame(Packet.Udp(1, 2, data));
        var reassembly = new FragmentReassembly();
        var result = new byte[Ethernet.MaximumFrame];
        var length = 0;
        foreach (var fragment in Cut(whole, unit))
        {
            Assert.Equal(0, length);
            length = reassembly.Add(fragment, FrameHeaders.Parse(fragment), result);
        }
        Assert.Equal(whole, result[..length]);
    }

    [Fact]
    public void Fragments_that_overlap_leave_a_gap_or_lack_a_beginning_come_to_nothing()
    {
        var fragments = Cut(Frame(Packet.Udp(1, 2, new byte[4000])), 1480);
        foreach (int[] order in (int[][])[[1, 2], [0, 2], [0, 1, 1, 2], [2, 1, 0]])
        {
            var reassembly = new FragmentReassembly();
            foreach (var i in order)
                Assert.Equal(0, reassembly.Add(fragments[i], FrameHeaders.Parse(fragments[i]), new byte[Ethernet.MaximumFrame]));
        }
    }

    [Fact]
    public void It_survives_50_000_fragments_of_any_kind()
    {
        var reassembly = new FragmentReassembly();
        var result = new byte[Ethernet.MaximumFrame];
        Gen.Select(Gen.UShort, Gen.Int[0, 3], Gen.Int[0, 60000], Gen.Int[0, 4]).Sample((field, id, length, words) =>
        {
            var frame = Frame(new byte[length]);
            frame[19] = (byte)id;
            frame[20] = (byte)(field >> 8);
            frame[21] = (byte)field;
            frame[14] = (byte)(0x45 + words);
            var headers = FrameHeaders.Parse(frame);
            if (headers is not { Kind: FrameKind.IPv4, IsFragment: true })
                return;
            var whole = reassembly.Add(frame, headers, result);
            Assert.True(whole == 0 || FrameHeaders.Parse(result.AsSpan(0, whole)) is { Kind: not FrameKind.Malformed, IsFragment: false });
        }, iter: 50_000, threads: 1);
    }

    private static byte[] Frame(byte[] segment) =>
        Packet.Ethernet(new(1), new(2), 0x0800, Packet.Ip(IPAddress.Parse("10.0.2.15"), IPAddress.Parse("192.0.2.1"), 17, segment));

    private static List<byte[]> Cut(byte[] frame, int unit)
    {
        var fragments = new List<byte[]>();
        for (var at = 0; at < frame.Length - 34; at += unit)
        {
            var part = frame.AsSpan(34 + at, Math.Min(unit, frame.Length - 34 - at));
            byte[] fragment = [.. frame.AsSpan(0, 34), .. part];
            var field = at / 8 | (at + part.Length < frame.Length - 34 ? 0x2000 : 0);
            (fragment[16], fragment[17]) = ((byte)((20 + part.Length) >> 8), (byte)(20 + part.Length));
            (fragment[20], fragment[21]) = ((byte)(field >> 8), (byte)field);
            fragments.Add(fragment);
        }
        return fragments;
    }
}
