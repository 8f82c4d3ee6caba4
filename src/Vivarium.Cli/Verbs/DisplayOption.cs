using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Vivarium.Cli.Verbs;

internal enum DisplayKind
{
    None,
    Text,
    Vnc,
}

/// <summary><c>--display none|text|vnc[=[HOST:]PORT|unix:PATH][,password=TEXT][,password-file=PATH]</c>: where the guest's screen is shown.</summary>
/// <param name="Kind">How.</param>
/// <param name="EndPoint">Where a VNC server listens; null if at a socket.</param>
/// <param name="Path">Of a VNC server's Unix socket; null if at a port.</param>
/// <param name="Password">What it asks for; null if for nothing.</param>
internal sealed record DisplayOption(DisplayKind Kind, IPEndPoint? EndPoint = null, string? Path = null, string? Password = null)
{
    /// <summary>That of display 0.</summary>
    public const int FirstVncPort = 5900;

    private const string VncWord = "vnc";
    private const string UnixPrefix = "unix:";
    private const string Form = "known are none, text, and vnc[=[HOST:]PORT|unix:PATH][,password=TEXT][,password-file=PATH]";

    public static readonly DisplayOption None = new(DisplayKind.None);

    public static readonly DisplayOption Text = new(DisplayKind.Text);

    /// <summary>Null if nothing was said: see <see cref="Choose"/>.</summary>
    /// <exception cref="InvalidInputException">The text is no such thing; the message says why.</exception>
    public static DisplayOption? Parse(string? text)
    {
        switch (text)
        {
            case null:
                return null;
            case "none":
                return None;
            case "text":
                return Text;
        }

        List<string> parts = OptionParts.Split(text);
        (string kind, string? place) = parts[0].IndexOf('=', StringComparison.Ordinal) is >= 0 and int at ? (parts[0][..at], parts[0][(at + 1)..]) : (parts[0], null);
        if (kind != VncWord || place is "")
        {
            throw new InvalidInputException($"'{text}' is no display; {Form}");
        }

        string? password = null;
        foreach (string part in parts.Skip(1))
        {
            if (password is not null)
            {
                throw new InvalidInputException("a display has one password; leave out the others");
            }

            password = part switch
            {
                _ when part.StartsWith("password=", StringComparison.Ordinal) => part["password=".Length..],
                _ when part.StartsWith("password-file=", StringComparison.Ordinal) => ReadPassword(part["password-file=".Length..]),
                _ => throw new InvalidInputException($"'{part}' is nothing that a VNC display has; {Form}"),
            };
            if (password.Length == 0)
            {
                throw new InvalidInputException("the password is empty; leave it out if none is to be asked for");
            }
        }

        return place is not null && place.StartsWith(UnixPrefix, StringComparison.Ordinal)
            ? new DisplayOption(DisplayKind.Vnc, Path: place[UnixPrefix.Length..] is { Length: > 0 } path ? path : throw new InvalidInputException($"'{text}' names no socket; {Form}"), Password: password)
            : new DisplayOption(DisplayKind.Vnc, ParsePlace(place, text), Password: password);
    }

    /// <summary>
    /// What to do if nothing was said: a classic PC that starts its firmware at a terminal, and whose serial line nobody asked for
    /// there, shows its screen in that terminal, as a PC has always shown what it does. All others show nothing.
    /// </summary>
    public static DisplayOption Choose(DisplayOption? said, bool startsFirmware, bool isClassic, bool serialSaid, bool background, Func<bool> hasTerminal) =>
        said ?? (startsFirmware && isClassic && !serialSaid && !background && hasTerminal() ? Text : None);

    private static IPEndPoint ParsePlace(string? place, string text)
    {
        if (place is null)
        {
            return new IPEndPoint(IPAddress.Loopback, FirstVncPort);
        }

        int colon = place.LastIndexOf(':');
        string host = colon < 0 ? "" : place[..colon];
        return int.TryParse(place.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port <= IPEndPoint.MaxPort
            ? new IPEndPoint(host.Length == 0 ? IPAddress.Loopback : Resolve(host), port)
            : throw new InvalidInputException($"'{text}' has no port; write for example --display vnc=5901, or vnc=0 for any that is free");
    }

    private static IPAddress Resolve(string host)
    {
        try
        {
            return IPAddress.TryParse(host.Trim('[', ']'), out IPAddress? address) ? address : Dns.GetHostAddresses(host)[0];
        }
        catch (Exception e) when (e is SocketException or ArgumentException or IndexOutOfRangeException)
        {
            throw new InvalidInputException($"'{host}' is no address of this host; write for example --display vnc=127.0.0.1:5900", e);
        }
    }

    private static string ReadPassword(string path)
    {
        const int longest = 1024;
        try
        {
            using FileStream file = File.OpenRead(path);
            using var reader = new StreamReader(file);
            char[] buffer = new char[longest];
            int length = reader.ReadBlock(buffer);
            return new string(buffer, 0, length).Split('\n')[0].TrimEnd('\r');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new InvalidInputException($"cannot read the password from '{path}': {e.Message}", e);
        }
    }
}
