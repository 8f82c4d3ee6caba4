using System.Net;

namespace Vivarium.Network.Tests;

public sealed class OptionTests
{
    [Theory]
    [InlineData("user")]
    [InlineData("none")]
    [InlineData("tap:tap0")]
    [InlineData("tap:fifteen-letters")]
    public void A_network_option_reads_what_it_writes(string text) => Assert.Equal(text, NetworkOption.Parse(text).ToString());

    [Theory]
    [InlineData("tap", "'tap' needs the name")]
    [InlineData("tap:", "'tap' needs the name")]
    [InlineData("tap:a/b", "'a/b' cannot be the name")]
    [InlineData("tap:..", "'..' cannot be the name")]
    [InlineData("tap:sixteen-letters!", "'sixteen-letters!' cannot be the name")]
    [InlineData("bridge", "There is no network 'bridge'")]
    [InlineData("", "There is no network ''")]
    public void A_wrong_network_option_is_explained(string text, string start) =>
        Assert.StartsWith(start, Assert.Throws<FormatException>(() => NetworkOption.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("2222:22", "127.0.0.1:2222:22")]
    [InlineData("0.0.0.0:80:8080/tcp", "0.0.0.0:80:8080")]
    [InlineData("5353:53/udp", "127.0.0.1:5353:53/udp")]
    [InlineData("0:22", "127.0.0.1:0:22")]
    public void A_port_forward_reads_what_it_writes(string text, string canonical)
    {
        var forward = PortForward.Parse(text);
        Assert.Equal(canonical, forward.ToString());
        Assert.Equal(forward, PortForward.Parse(canonical));
    }

    [Theory]
    [InlineData("22", "'22' is no port forward")]
    [InlineData("1:2:3:4", "'1:2:3:4' is no port forward")]
    [InlineData("x:22", "'x' in the port forward 'x:22' is no port number from 0")]
    [InlineData("22:0", "'0' in the port forward '22:0' is no port number from 1")]
    [InlineData("22:65536", "'65536' in the port forward")]
    [InlineData("-1:22", "'-1' in the port forward")]
    [InlineData("1.2.3:22:22", "'1.2.3' in the port forward '1.2.3:22:22' is no IPv4 address")]
    [InlineData("host:22:22", "'host' in the port forward")]
    [InlineData("22:22/sctp", "'22:22/sctp' forwards the unknown protocol 'sctp'")]
    [InlineData("[::1]:22:22", "'[::1]:22:22' listens on an IPv6 address")]
    public void A_wrong_port_forward_is_explained(string text, string start) =>
        Assert.StartsWith(start, Assert.Throws<FormatException>(() => PortForward.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("example.org", "example.org")]
    [InlineData("Example.ORG.:443", "example.org:443")]
    [InlineData("*.example.org:80", "*.example.org:80")]
    [InlineData("a_b.local", "a_b.local")]
    [InlineData("10.0.0.1", "10.0.0.1")]
    [InlineData("10.0.0.1:22", "10.0.0.1:22")]
    [InlineData("10.0.0.0/8", "10.0.0.0/8")]
    [InlineData("0.0.0.0/0:443", "0.0.0.0/0:443")]
    [InlineData("2001:db8::1", "2001:db8::1")]
    [InlineData("2001:db8::/32", "2001:db8::/32")]
    [InlineData("[2001:db8::1]:443", "[2001:db8::1]:443")]
    [InlineData("[2001:db8::/32]:443", "[2001:db8::/32]:443")]
    [InlineData("[::1]", "::1")]
    [InlineData("::/0", "::/0")]
    public void An_egress_rule_reads_what_it_writes(string text, string canonical)
    {
        var rule = EgressRule.Parse(text);
        Assert.Equal(canonical, rule.ToString());
        Assert.Equal(rule, EgressRule.Parse(canonical));
    }

    [Theory]
    [InlineData("", "'' in '' is no host name")]
    [InlineData("*", "'*' would allow everything")]
    [InlineData("*.", "'*.' in '*.' is no host name")]
    [InlineData("a.*.b", "'a.*.b' in 'a.*.b' is no host name")]
    [InlineData("a..b", "'a..b' in")]
    [InlineData("-a.org", "'-a.org' in")]
    [InlineData("a b", "'a b' in")]
    [InlineData("example.org:", "'' in 'example.org:' is no port number")]
    [InlineData("example.org:0", "'0' in 'example.org:0' is no port number")]
    [InlineData("example.org:http", "'http' in")]
    [InlineData("example.org/24", "'example.org/24' has a prefix length behind something that is no address")]
    [InlineData("10.0.0.256", "'10.0.0.256' in")]
    [InlineData("10.0.1", "'10.0.1' in")]
    [InlineData("10.0.0.0/33", "'33' in '10.0.0.0/33' is no prefix length from 0 to 32.")]
    [InlineData("10.0.0.0/", "'' in")]
    [InlineData("10.0.0.1/8", "'10.0.0.1/8' has address bits beyond its prefix of 8; write 10.0.0.0/8")]
    [InlineData("2001:db8::1/129", "'129' in")]
    [InlineData("2001:db8::1:443:x", "'2001:db8::1:443:x' in")]
    [InlineData("fe80::1%eth0", "'fe80::1%eth0' in")]
    [InlineData("[2001:db8::1", "'[2001:db8::1' has a bracket")]
    [InlineData("[2001:db8::1]443", "'[2001:db8::1]443' has a bracket")]
    [InlineData("[10.0.0.1]:22", "'10.0.0.1' in '[10.0.0.1]:22' is no IPv6 address")]
    [InlineData("[example.org]:22", "'example.org' in '[example.org]:22' is no IPv6 address")]
    public void A_wrong_egress_rule_is_explained(string text, string start) =>
        Assert.StartsWith(start, Assert.Throws<FormatException>(() => EgressRule.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_machine_has_the_same_address_on_every_run_and_another_for_each_card()
    {
        var mac = MacAddress.ForMachine("sandbox");
        Assert.Equal(mac, MacAddress.ForMachine("sandbox"));
        Assert.NotEqual(mac, MacAddress.ForMachine("sandbox", card: 1));
        Assert.NotEqual(mac, MacAddress.ForMachine("other"));
        Assert.Equal(0x02UL, mac.Value >> 40 & 0x03);
        Assert.Equal(mac, MacAddress.Parse(mac.ToString()));
    }

    [Theory]
    [InlineData("52:54:00:12:34", "no MAC address")]
    [InlineData("52:54:00:12:34:5x", "no MAC address")]
    [InlineData("53:54:00:12:34:56", "cannot be a card's")]
    [InlineData("00:00:00:00:00:00", "cannot be a card's")]
    public void A_wrong_mac_address_is_explained(string text, string part) =>
        Assert.Contains(part, Assert.Throws<FormatException>(() => MacAddress.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("tap:no-such-tap", "There is no network interface 'no-such-tap' on this host; create it")]
    [InlineData("tap:lo", "The network interface 'lo' is no TAP interface")]
    public void A_tap_that_is_not_there_is_explained(string option, string start)
    {
        var tap = Assert.IsType<NetworkOption.Tap>(NetworkOption.Parse(option));
        var error = Assert.Throws<NetworkException>(() => new TapNetwork(tap.Interface));
        Assert.StartsWith(start, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_for_a_user_network_know_its_name_servers() =>
        Assert.Contains(IPAddress.Parse("10.0.2.3"), EgressFilterOptions.ForUserNetwork([]).NameServers);
}
