using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Network;

/// <summary>A port of the host that leads to a port of the guest.</summary>
/// <param name="Address">The host's IPv4 address on which it listens.</param>
/// <param name="HostPort">1 to 65535, or 0 for any free port.</param>
/// <param name="GuestPort">1 to 65535.</param>
/// <param name="Udp">UDP instead of TCP.</param>
public sealed record PortForward(IPAddress Address, int HostPort, int GuestPort, bool Udp)
{
    private const string Form = "write [ADDRESS:]HOSTPORT:GUESTPORT[/udp], for instance 2222:22";

    /// <summary>Reads <c>[ADDRESS:]HOSTPORT:GUESTPORT[/tcp|/udp]</c>; without an address only this host itself can connect.</summary>
    /// <exception cref="FormatException">One sentence that says what is wrong.</exception>
    public static PortForward Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var rest = text;
        var udp = false;
        if (text.LastIndexOf('/') is >= 0 and var slash)
        {
            rest = text[..slash];
            udp = text[(slash + 1)..] switch
            {
                "udp" => true,
                "tcp" => false,
                var other => throw new FormatException($"'{text}' forwards the unknown protocol '{other}'; use /tcp or /udp."),
            };
        }
        if (rest.StartsWith('['))
            throw new FormatException($"'{text}' listens on an IPv6 address, which forwards cannot; use an IPv4 address of this host.");
        var parts = rest.Split(':');
        if (parts.Length is not (2 or 3))
            throw new FormatException($"'{text}' is no port forward; {Form}.");
        var address = IPAddress.Loopback;
        if (parts.Length == 3 && !IsDottedQuad(parts[0], out address))
            throw new FormatException($"'{parts[0]}' in the port forward '{text}' is no IPv4 address; {Form}.");
        return new(address, Port(text, parts[^2], 0), Port(text, parts[^1], 1), udp);
    }

    public override string ToString() => $"{Address}:{HostPort}:{GuestPort}{(Udp ? "/udp" : "")}";

    /// <summary>Only the four-number form: IPAddress also takes 1 for 0.0.0.1.</summary>
    internal static bool IsDottedQuad(string text, out IPAddress address) =>
        IPAddress.TryParse(text, out address!)
        && address.AddressFamily == AddressFamily.InterNetwork
        && text.Count(c => c == '.') == 3;

    private static int Port(string text, string port, int minimum) =>
        int.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= minimum && number <= ushort.MaxValue
            ? number
            : throw new FormatException($"'{port}' in the port forward '{text}' is no port number from {minimum} to 65535; {Form}.");
}
