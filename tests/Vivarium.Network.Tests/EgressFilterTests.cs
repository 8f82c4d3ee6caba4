using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network.Tests;

public sealed class EgressFilterTests
{
    private static readonly IPAddress Guest4 = IPAddress.Parse("10.0.2.15");
    private static readonly IPAddress Guest6 = IPAddress.Parse("fec0::15");
    private static readonly IPAddress NameServer = IPAddress.Parse("10.0.2.3");
    private readonly ManualTime _time = new();

    [Theory]
    [InlineData("192.0.2.1", "192.0.2.1", 80, null)]
    [InlineData("192.0.2.1", "192.0.2.2", 80, EgressRefusal.Destination)]
    [InlineData("192.0.2.1:80", "192.0.2.1", 80, null)]
    [InlineData("192.0.2.1:80", "192.0.2.1", 81, EgressRefusal.Destination)]
    [InlineData("192.0.2.0/24", "192.0.2.255", 1, null)]
    [InlineData("192.0.2.0/24", "192.0.3.0", 1, EgressRefusal.Destination)]
    [InlineData("0.0.0.0/0", "198.51.100.7", 1, null)]
    [InlineData("0.0.0.0/0", "2001:db8::1", 1, EgressRefusal.Destination)]
    [InlineData("::/0", "2001:db8::1", 1, null)]
    [InlineData("2001:db8::/32", "2001:db8:ffff::1", 1, null)]
    [InlineData("2001:db8::/32", "2001:db9::1", 1, EgressRefusal.Destination)]
    [InlineData("[2001:db8::1]:443", "2001:db8::1", 443, null)]
    [InlineData("[2001:db8::1]:443", "2001:db8::1", 444, EgressRefusal.Destination)]
    [InlineData("10.0.2.2:8080", "10.0.2.2", 8080, null)]
    [InlineData("10.0.2.2:8080", "10.0.2.2", 22, EgressRefusal.Destination)]
    [InlineData("192.0.2.1", "::ffff:192.0.2.2", 80, EgressRefusal.Destination)]
    public void Rules_with_addresses_allow_what_they_say(string rule, string destination, int port, EgressRefusal? expected)
    {
        var filter = Filter(rule);
        Assert.Equal(expected, filter.Decide(Syn(destination, port)));
        Assert.Equal(expected, filter.Decide(Udp(destination, 4000, port, [1])));
        Assert.Equal(2, expected is null ? filter.Counters.Allowed : filter.Counters.Refused[EgressRefusal.Destination]);
    }

    [Fact]
    public void What_was_refused_last_can_be_read()
    {
        var filter = Filter("192.0.2.1");
        Assert.Null(filter.Counters.LastRefused);
        filter.Decide(Syn("198.51.100.7", 25));
        Assert.Equal("198.51.100.7:25", filter.Counters.LastRefused);
        filter.Decide(Syn("2001:db8::1", 443));
        Assert.Equal("[2001:db8::1]:443", filter.Counters.LastRefused);
        filter.Decide(Query("tracker.example", Dns.A));
        Assert.Equal("tracker.example", filter.Counters.LastRefused);
    }

    [Fact]
    public void What_addresses_need_to_work_is_let_out()
    {
        var filter = Filter("192.0.2.1");
        Assert.Null(filter.Decide(Packet.Ethernet(new(0xFFFF_FFFF_FFFF), TestGuest.Mac, 0x0806, new byte[28])));
        Assert.Null(filter.Decide(Frame(IPAddress.Any, IPAddress.Broadcast, 17, Packet.Udp(68, 67, new byte[240]), 6)));
        Assert.Null(filter.Decide(Frame(Guest4, IPAddress.Parse("10.0.2.2"), 17, Packet.Udp(68, 67, new byte[240]), 6)));
        Assert.Null(filter.Decide(Frame(Guest6, IPAddress.Parse("ff02::1:2"), 17, Packet.Udp(546, 547, new byte[20]), 6)));
        Assert.Null(filter.Decide(Frame(Guest6, IPAddress.Parse("ff02::1:ff00:2"), 58, [135, .. new byte[23]], 2)));
        Assert.Null(filter.Decide(Frame(Guest6, IPAddress.Parse("ff02::2"), 58, [133, .. new byte[7]], 2)));

        Assert.Equal(EgressRefusal.Destination, filter.Decide(Frame(Guest4, IPAddress.Parse("198.51.100.7"), 17, Packet.Udp(68, 67, new byte[240]), 6)));
        Assert.Equal(EgressRefusal.Multicast, filter.Decide(Udp("224.0.0.251", 5353, 5353, [1])));
        Assert.Equal(EgressRefusal.Multicast, filter.Decide(Udp("ff02::fb", 5353, 5353, [1])));
    }

    [Theory]
    [InlineData("example.org", "example.org", true)]
    [InlineData("example.org", "EXAMPLE.org", true)]
    [InlineData("example.org", "www.example.org", false)]
    [InlineData("example.org", "badexample.org", false)]
    [InlineData("*.example.org", "www.example.org", true)]
    [InlineData("*.example.org", "a.b.example.org", true)]
    [InlineData("*.example.org", "example.org", false)]
    [InlineData("*.example.org", "badexample.org", false)]
    [InlineData("192.0.2.1", "example.org", false)]
    public void Only_allowed_names_are_looked_up(string rule, string name, bool allowed)
    {
        var filter = Filter(rule);
        Assert.Equal(allowed ? null : EgressRefusal.Name, filter.Decide(Query(name, Dns.A)));
    }

    [Fact]
    public void An_answer_opens_the_addresses_of_an_allowed_name_and_its_port_alone()
    {
        var filter = Filter("example.org:443", "other.org");
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.7", 443)));
        LookUp(filter, "example.org", Dns.A, Dns.Address("example.org", "192.0.2.7"), Dns.Address("elsewhere.org", "192.0.2.8"));
        Assert.Null(filter.Decide(Syn("192.0.2.7", 443)));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.7", 80)));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.8", 443)));

        LookUp(filter, "other.org", Dns.Aaaa, Dns.Address("other.org", "2001:db8::7"));
        Assert.Null(filter.Decide(Syn("2001:db8::7", 1234)));
    }

    [Fact]
    public void Aliases_are_followed_in_any_order_and_with_compressed_names()
    {
        var filter = Filter("www.example.org");
        byte[] question = [0xC0, 12];
        LookUp(filter, "www.example.org", Dns.A,
            Dns.Address("c.cdn.example", "192.0.2.9"),
            Dns.Record(Dns.Name("b.cdn.example"), Dns.Cname, 300, Dns.Name("c.cdn.example")),
            Dns.Record(question, Dns.Cname, 300, Dns.Name("b.cdn.example")));
        Assert.Null(filter.Decide(Syn("192.0.2.9", 443)));
    }

    [Fact]
    public void An_alias_that_leads_to_itself_ends()
    {
        var filter = Filter("a.example");
        LookUp(filter, "a.example", Dns.A,
            Dns.Record(Dns.Name("a.example"), Dns.Cname, 300, Dns.Name("b.example")),
            Dns.Record(Dns.Name("b.example"), Dns.Cname, 300, Dns.Name("a.example")),
            Dns.Address("b.example", "192.0.2.9"));
        Assert.Null(filter.Decide(Syn("192.0.2.9", 443)));
    }

    [Fact]
    public void An_address_closes_when_its_answer_is_too_old_but_connections_stay()
    {
        var filter = Filter("example.org");
        LookUp(filter, "example.org", Dns.A, Dns.Address("example.org", "192.0.2.7", timeToLive: 300));
        _time.Advance(TimeSpan.FromSeconds(299));
        Assert.Null(filter.Decide(Syn("192.0.2.7", 443, sourcePort: 1000)));
        _time.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.7", 443, sourcePort: 1001)));
        Assert.Null(filter.Decide(Tcp("192.0.2.7", 1000, 443, 16)));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Tcp("192.0.2.7", 1002, 443, 16)));
    }

    [Fact]
    public void An_answer_that_nobody_asked_for_opens_nothing()
    {
        var filter = Filter("example.org");
        filter.Observe(Frame(NameServer, Guest4, 17, Packet.Udp(53, 5000, Dns.Answer(1, "example.org", Dns.A, Dns.Address("example.org", "192.0.2.7"))), 6));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.7", 443)));
    }

    [Fact]
    public void Only_the_name_server_is_believed()
    {
        var filter = Filter("example.org", "192.0.2.66");
        Assert.Null(filter.Decide(Udp("192.0.2.66", 5000, 53, Dns.Query(1, "example.org", Dns.A))));
        filter.Observe(Frame(IPAddress.Parse("192.0.2.66"), Guest4, 17, Packet.Udp(53, 5000, Dns.Answer(1, "example.org", Dns.A, Dns.Address("example.org", "192.0.2.7"))), 6));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Syn("192.0.2.7", 443)));
    }

    [Theory]
    [InlineData("10.0.2.2")]
    [InlineData("127.0.0.1")]
    [InlineData("0.0.0.0")]
    [InlineData("169.254.169.254")]
    [InlineData("224.0.0.1")]
    [InlineData("::1")]
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("fec0::2")]
    [InlineData("fe80::1")]
    public void A_name_never_opens_the_host_itself(string address)
    {
        var filter = Filter("example.org");
        LookUp(filter, "example.org", Dns.A, Dns.Address("example.org", address));
        Assert.NotNull(filter.Decide(Syn(address, 443)));
    }

    [Fact]
    public void The_name_server_gets_queries_and_nothing_else()
    {
        var filter = Filter("example.org");
        Assert.Equal(EgressRefusal.NotAQuery, filter.Decide(Udp("10.0.2.3", 5000, 53, [1, 2, 3])));
        Assert.Equal(EgressRefusal.NotAQuery, filter.Decide(Udp("10.0.2.3", 5000, 54, Dns.Query(1, "example.org", Dns.A))));
        Assert.Equal(EgressRefusal.NotAQuery, filter.Decide(Udp("10.0.2.3", 5000, 53, Dns.Answer(1, "example.org", Dns.A))));
        Assert.Equal(EgressRefusal.NotAQuery, filter.Decide(Syn("10.0.2.3", 53)));

        // An earlier query opens no way around.
        Assert.Null(filter.Decide(Query("example.org", Dns.A)));
        Assert.Equal(EgressRefusal.Name, filter.Decide(Query("secret.attacker.example", Dns.A)));
    }

    [Fact]
    public void Answers_to_what_came_from_outside_are_let_out()
    {
        var filter = Filter("192.0.2.1");
        var peer = IPAddress.Parse("10.0.2.2");
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Tcp("10.0.2.2", 22, 40000, 0x12)));
        filter.Observe(Frame(peer, Guest4, 6, Packet.Tcp(40000, 22, 1, 0, 2, []), 16));
        Assert.Null(filter.Decide(Tcp("10.0.2.2", 22, 40000, 0x12)));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Tcp("10.0.2.2", 22, 40001, 0x12)));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Tcp("10.0.2.2", 22, 40000, 2)));

        filter.Observe(Frame(peer, Guest4, 17, Packet.Udp(40000, 53, [1]), 6));
        Assert.Null(filter.Decide(Udp("10.0.2.2", 53, 40000, [1])));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Udp("10.0.2.2", 54, 40000, [1])));
    }

    [Fact]
    public void Echo_requests_need_a_rule_without_a_port()
    {
        Assert.Null(Filter("192.0.2.1").Decide(Frame(Guest4, IPAddress.Parse("192.0.2.1"), 1, [8, .. new byte[7]], 2)));
        Assert.Equal(EgressRefusal.Destination, Filter("192.0.2.1:80").Decide(Frame(Guest4, IPAddress.Parse("192.0.2.1"), 1, [8, .. new byte[7]], 2)));
    }

    [Fact]
    public void Fragments_follow_their_beginning()
    {
        var filter = Filter("192.0.2.1:80");
        Assert.Equal(EgressRefusal.Fragment, filter.Decide(Fragment("192.0.2.1", id: 7, offset: 185, more: false, new byte[100])));
        Assert.Null(filter.Decide(Fragment("192.0.2.1", id: 7, offset: 0, more: true, Packet.Udp(1000, 80, new byte[1472]))));
        Assert.Null(filter.Decide(Fragment("192.0.2.1", id: 7, offset: 185, more: false, new byte[100])));
        Assert.Equal(EgressRefusal.Fragment, filter.Decide(Fragment("192.0.2.1", id: 8, offset: 185, more: false, new byte[100])));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Fragment("192.0.2.1", id: 9, offset: 0, more: true, Packet.Udp(1000, 81, new byte[1472]))));
        Assert.Equal(EgressRefusal.Fragment, filter.Decide(Fragment("192.0.2.1", id: 9, offset: 185, more: false, new byte[100])));

        // Ports in a piece too short for them.
        Assert.Equal(EgressRefusal.Malformed, filter.Decide(Fragment("192.0.2.1", id: 10, offset: 0, more: true, new byte[7])));
        _time.Advance(TimeSpan.FromSeconds(31));
        Assert.Equal(EgressRefusal.Fragment, filter.Decide(Fragment("192.0.2.1", id: 7, offset: 185, more: false, new byte[100])));
    }

    [Fact]
    public void Extension_headers_are_looked_through()
    {
        var filter = Filter("[2001:db8::1]:80");
        byte[] options = [6, 1, .. new byte[14]];
        Assert.Null(filter.Decide(Extended("2001:db8::1", 0, [60, 0, .. new byte[6], .. options, .. Packet.Tcp(1, 80, 1, 0, 2, [])])));
        Assert.Equal(EgressRefusal.Destination, filter.Decide(Extended("2001:db8::1", 60, [.. options, .. Packet.Tcp(1, 81, 1, 0, 2, [])])));
        Assert.Equal(EgressRefusal.SourceRoute, filter.Decide(Extended("2001:db8::1", 43, [6, 2, 0, 1, .. new byte[20], .. Packet.Tcp(1, 80, 1, 0, 2, [])])));
        Assert.Equal(EgressRefusal.Malformed, filter.Decide(Extended("2001:db8::1", 60, [6, 200, .. new byte[6], .. Packet.Tcp(1, 80, 1, 0, 2, [])])));
        Assert.Equal(EgressRefusal.Malformed, filter.Decide(Extended("2001:db8::1", 60, [.. Enumerable.Repeat((byte[])[60, 0, 0, 0, 0, 0, 0, 0], 9).SelectMany(h => h)])));

        // A fragment header: the first piece is judged, the next follows it, another's does not.
        Assert.Null(filter.Decide(Extended("2001:db8::1", 44, [17, 0, 0, 1, 0, 0, 0, 5, .. Packet.Udp(1, 80, new byte[16])])));
        Assert.Null(filter.Decide(Extended("2001:db8::1", 44, [17, 0, 0, 24, 0, 0, 0, 5, .. new byte[16]])));
        Assert.Equal(EgressRefusal.Fragment, filter.Decide(Extended("2001:db8::1", 44, [17, 0, 0, 24, 0, 0, 0, 6, .. new byte[16]])));
    }

    [Fact]
    public void Ipv4_options_are_looked_through_and_source_routes_refused()
    {
        var filter = Filter("192.0.2.1:80");
        Assert.Null(filter.Decide(WithOptions([1, 1, 1, 0])));
        Assert.Equal(EgressRefusal.SourceRoute, filter.Decide(WithOptions([131, 7, 4, 198, 51, 100, 7, 0])));
        Assert.Equal(EgressRefusal.SourceRoute, filter.Decide(WithOptions([1, 137, 3, 4])));
        Assert.Equal(EgressRefusal.SourceRoute, filter.Decide(WithOptions([7, 0, 0, 0])));
    }

    [Fact]
    public void Tags_other_protocols_and_truncated_frames_are_refused()
    {
        var filter = Filter("0.0.0.0/0");
        var frame = Syn("192.0.2.1", 80);
        byte[] tagged = [.. frame[..12], 0x81, 0x00, 0x00, 0x05, .. frame[12..]];
        Assert.Equal(EgressRefusal.Vlan, filter.Decide(tagged));
        Assert.Equal(EgressRefusal.Protocol, filter.Decide(Packet.Ethernet(new(1), new(2), 0x88CC, new byte[50])));
        for (var length = 0; length < frame.Length; length++)
            Assert.Equal(EgressRefusal.Malformed, filter.Decide(frame[..length]));
        Assert.Null(filter.Decide(frame));
    }

    [Theory]
    [InlineData(34, 16, FrameOffload.GsoTcpV4, null)]
    [InlineData(34, 16, FrameOffload.GsoNone, null)]
    [InlineData(34, 16, FrameOffload.GsoTcpV6, EgressRefusal.Malformed)]
    [InlineData(34, 6, FrameOffload.GsoNone, EgressRefusal.Malformed)]
    [InlineData(14, 16, FrameOffload.GsoNone, EgressRefusal.Malformed)]
    [InlineData(30, 4, FrameOffload.GsoNone, EgressRefusal.Malformed)]
    public void A_checksum_must_not_be_written_over_what_was_judged(int start, int offset, byte gso, EgressRefusal? expected)
    {
        var offload = new FrameOffload { Flags = FrameOffload.NeedsChecksum, GsoType = gso, ChecksumStart = (ushort)start, ChecksumOffset = (ushort)offset };
        Assert.Equal(expected, Filter("192.0.2.1").Decide(Syn("192.0.2.1", 80), offload));
    }

    [Fact]
    public void Many_exchanges_do_not_take_ever_more_memory()
    {
        var table = new ExpiringTable<int>(100);
        for (var i = 0; i < 10_000; i++)
            table.Add(i, now: i, expiry: i + 1_000_000);
        Assert.InRange(table.Count, 50, 100);
        Assert.True(table.Contains(9_999, now: 10_000));
    }

    private EgressFilter Filter(params string[] rules) =>
        new(EgressFilterOptions.ForUserNetwork([.. rules.Select(EgressRule.Parse)]) with { Time = _time });

    private static void LookUp(EgressFilter filter, string name, ushort type, params byte[][] records)
    {
        Assert.Null(filter.Decide(Query(name, type)));
        filter.Observe(Frame(NameServer, Guest4, 17, Packet.Udp(53, 5000, Dns.Answer(1, name, type, records)), 6));
    }

    private static byte[] Query(string name, ushort type) => Udp("10.0.2.3", 5000, 53, Dns.Query(1, name, type));

    private static byte[] Syn(string destination, int port, int sourcePort = 4000) => Tcp(destination, sourcePort, port, 2);

    private static byte[] Tcp(string destination, int sourcePort, int port, byte flags) =>
        ToAddress(destination, 6, Packet.Tcp((ushort)sourcePort, (ushort)port, 1, 0, flags, []), 16);

    private static byte[] Udp(string destination, int sourcePort, int port, byte[] payload) =>
        ToAddress(destination, 17, Packet.Udp((ushort)sourcePort, (ushort)port, payload), 6);

    private static byte[] ToAddress(string destination, byte protocol, byte[] segment, int checksumAt)
    {
        var address = IPAddress.Parse(destination);
        return Frame(address.AddressFamily == AddressFamily.InterNetwork ? Guest4 : Guest6, address, protocol, segment, checksumAt);
    }

    private static byte[] Frame(IPAddress source, IPAddress destination, byte protocol, byte[] segment, int checksumAt) =>
        Packet.Ethernet(new(0x5255_0A00_0202), TestGuest.Mac, source.AddressFamily == AddressFamily.InterNetwork ? (ushort)0x0800 : (ushort)0x86DD,
            Packet.Ip(source, destination, protocol, segment, checksumAt));

    private static byte[] Fragment(string destination, ushort id, ushort offset, bool more, byte[] payload)
    {
        var frame = Frame(Guest4, IPAddress.Parse(destination), 17, payload, -1);
        frame[18] = (byte)(id >> 8);
        frame[19] = (byte)id;
        frame[20] = (byte)(offset >> 8 | (more ? 0x20 : 0));
        frame[21] = (byte)offset;
        return frame;
    }

    private static byte[] Extended(string destination, byte next, byte[] payload) =>
        Frame(Guest6, IPAddress.Parse(destination), next, payload, -1);

    private static byte[] WithOptions(byte[] options)
    {
        var frame = Syn("192.0.2.1", 80);
        byte[] longer = [.. frame[..34], .. options, .. frame[34..]];
        longer[14] = (byte)(0x40 | (20 + options.Length) / 4);
        longer[17] += (byte)options.Length;
        return longer;
    }
}
