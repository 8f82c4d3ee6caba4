using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network;

/// <summary>One destination that a guest may reach: a host name, or a range of addresses, all ports of it or one.</summary>
public sealed record EgressRule
{
    private const string Form = "write a host name, an address or a range like 10.0.0.0/8, with :PORT if wanted, and IPv6 in brackets then";
    private const string WildcardPrefix = "*.";
    private const int MaximumNameLength = 253;
    private const int MaximumLabelLength = 63;

    private EgressRule()
    {
    }

    /// <summary>The name in lower case, without the wildcard; null for addresses.</summary>
    public string? Name { get; private init; }

    /// <summary>All names below <see cref="Name"/>, and not itself.</summary>
    public bool IsWildcard { get; private init; }

    /// <summary>The first address of the range; null for names.</summary>
    public IPAddress? Address { get; private init; }

    /// <summary>How many leading bits of <see cref="Address"/> count.</summary>
    public int PrefixLength { get; private init; }

    /// <summary>The only port, or null for all of them and for protocols that have none.</summary>
    public ushort? Port { get; private init; }

    /// <summary>Reads <c>HOST|CIDR[:PORT]</c>; a host is a name, <c>*.</c> with a name, or an address.</summary>
    /// <exception cref="FormatException">One sentence that says what is wrong.</exception>
    public static EgressRule Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var host = text;
        string? port = null;
        var bracketed = text.StartsWith('[');
        if (bracketed)
        {
            var close = text.IndexOf(']', StringComparison.Ordinal);
            if (close < 0 || (close + 1 < text.Length && text[close + 1] != ':'))
                throw new FormatException($"'{text}' has a bracket that does not close an address; write [2001:db8::1]:443.");
            host = text[1..close];
            if (close + 1 < text.Length)
                port = text[(close + 2)..];
        }
        else if (text.Count(c => c == ':') == 1)
        {
            var colon = text.IndexOf(':', StringComparison.Ordinal);
            host = text[..colon];
            port = text[(colon + 1)..];
        }
        var rule = ParseHost(text, host);
        if (bracketed && rule.Address?.AddressFamily != AddressFamily.InterNetworkV6)
            throw new FormatException($"'{host}' in '{text}' is no IPv6 address, and only those are written in brackets.");
        return port is null ? rule : rule with { Port = ParsePort(text, port) };
    }

    public override string ToString()
    {
        var host = Name is not null
            ? (IsWildcard ? WildcardPrefix : "") + Name
            : $"{Address}{(PrefixLength == MaximumPrefix(Address!) ? "" : $"/{PrefixLength}")}";
        return Port is not { } port ? host
            : Address?.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{host}]:{port}"
            : $"{host}:{port}";
    }

    /// <summary>Whether the rule lets this name be looked up and reached; the name is in lower case.</summary>
    internal bool Matches(ReadOnlySpan<char> name)
    {
        if (Name is null)
            return false;
        return IsWildcard
            ? name.Length > Name.Length + 1 && name.EndsWith(Name, StringComparison.Ordinal) && name[^(Name.Length + 1)] == '.'
            : name.SequenceEqual(Name);
    }

    private static EgressRule ParseHost(string text, string host)
    {
        var slash = host.IndexOf('/', StringComparison.Ordinal);
        var addressText = slash < 0 ? host : host[..slash];
        if (addressText.Contains(':', StringComparison.Ordinal) || (addressText.Length > 0 && addressText.All(c => char.IsAsciiDigit(c) || c == '.')))
        {
            if (!(addressText.Contains(':', StringComparison.Ordinal)
                    ? IPAddress.TryParse(addressText, out var address) && !addressText.Contains('%', StringComparison.Ordinal)
                    : PortForward.IsDottedQuad(addressText, out address)))
                throw new FormatException($"'{addressText}' in '{text}' is no address; {Form}.");
            return ParseRange(text, address!, slash < 0 ? null : host[(slash + 1)..]);
        }
        if (slash >= 0)
            throw new FormatException($"'{text}' has a prefix length behind something that is no address; {Form}.");
        return ParseName(text, host);
    }

    private static EgressRule ParseRange(string text, IPAddress address, string? prefix)
    {
        var maximum = MaximumPrefix(address);
        var length = maximum;
        if (prefix is not null && (!int.TryParse(prefix, NumberStyles.None, CultureInfo.InvariantCulture, out length) || length > maximum))
            throw new FormatException($"'{prefix}' in '{text}' is no prefix length from 0 to {maximum}.");
        var bytes = address.GetAddressBytes();
        for (var bit = length; bit < maximum; bit++)
            bytes[bit / 8] &= (byte)~(0x80 >> bit % 8);
        var first = new IPAddress(bytes);
        if (!first.Equals(address))
            throw new FormatException($"'{text}' has address bits beyond its prefix of {length}; write {first}/{length} for the range or {address} for the one address.");
        return new() { Address = address, PrefixLength = length };
    }

    private static EgressRule ParseName(string text, string host)
    {
        var isWildcard = host.StartsWith(WildcardPrefix, StringComparison.Ordinal);
        var name = (isWildcard ? host[WildcardPrefix.Length..] : host).ToLowerInvariant();
        if (name.EndsWith('.'))
            name = name[..^1];
        if (host == "*")
            throw new FormatException("'*' would allow everything; leave --net-allow out for that.");
        if (name.Length is 0 or > MaximumNameLength || !name.Split('.').All(IsLabel))
            throw new FormatException($"'{host}' in '{text}' is no host name; {Form}.");
        return new() { Name = name, IsWildcard = isWildcard };
    }

    private static bool IsLabel(string label) =>
        label.Length is > 0 and <= MaximumLabelLength
        && label.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_')
        && label[0] != '-' && label[^1] != '-';

    private static ushort ParsePort(string text, string port) =>
        ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number != 0
            ? number
            : throw new FormatException($"'{port}' in '{text}' is no port number from 1 to 65535.");

    private static int MaximumPrefix(IPAddress address) => address.AddressFamily == AddressFamily.InterNetwork ? 32 : 128;
}
