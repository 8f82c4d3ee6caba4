using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Cli.Verbs;

/// <summary><c>--gdb [HOST:]PORT</c> and <c>--gdb-wait</c>.</summary>
internal static class GdbOption
{
    /// <param name="text">Null if it was not given.</param>
    /// <param name="wait">Begin stopped.</param>
    /// <returns>Null if no debugger is to come.</returns>
    /// <exception cref="InvalidInputException">The text is no such thing; the message says why.</exception>
    public static GdbSpec? Parse(string? text, bool wait)
    {
        if (text is null)
        {
            return wait ? new GdbSpec { Wait = true } : null;
        }

        int colon = text.LastIndexOf(':');
        string host = colon < 0 ? "" : text[..colon];
        if (!int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port > IPEndPoint.MaxPort)
        {
            throw new InvalidInputException($"'{text}' is no port for GDB; write for example --gdb 1234");
        }

        return new GdbSpec { EndPoint = new IPEndPoint(host.Length == 0 ? IPAddress.Loopback : Resolve(host), port), Wait = wait };
    }

    private static IPAddress Resolve(string host)
    {
        try
        {
            return IPAddress.TryParse(host.Trim('[', ']'), out IPAddress? address) ? address : Dns.GetHostAddresses(host)[0];
        }
        catch (Exception e) when (e is SocketException or ArgumentException or IndexOutOfRangeException)
        {
            throw new InvalidInputException($"'{host}' is no address of this host; write for example --gdb 127.0.0.1:1234", e);
        }
    }
}
