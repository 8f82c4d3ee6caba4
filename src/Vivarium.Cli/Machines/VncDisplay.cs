using System.Net;
using System.Net.Sockets;
using Vivarium.Cli.Terminal;
using Vivarium.Cli.Verbs;
using Vivarium.Display.Rfb;

namespace Vivarium.Cli.Machines;

/// <summary>A machine's screen, keyboard and mouse for VNC clients, at a port or at a Unix socket.</summary>
internal sealed class VncDisplay : IAsyncDisposable
{
    private readonly RfbServer _server;
    private readonly string? _path;

    private VncDisplay(RfbServer server, string? path)
    {
        _server = server;
        _path = path;
    }

    /// <exception cref="InvalidInputException">The port or socket cannot be had; the message says why.</exception>
    public static VncDisplay Open(DisplayOption option, VirtualMachine machine, string name)
    {
        var host = new RfbHost(name, machine.Screen!, machine.Keyboard, machine.Pointer, option.Password);
        if (option.Path is { } path)
        {
            return new VncDisplay(new RfbServer(Listen(path), host), path);
        }

        try
        {
            return new VncDisplay(RfbServer.Open(option.EndPoint!, host), null);
        }
        catch (SocketException e)
        {
            throw new InvalidInputException(e.SocketErrorCode == SocketError.AddressAlreadyInUse
                ? $"port {option.EndPoint!.Port} for VNC is taken; choose another, for example --display vnc={option.EndPoint.Port + 1}, or vnc=0 for any that is free"
                : $"cannot open port {option.EndPoint} for VNC: {e.Message}", e);
        }
    }

    /// <summary>Lets clients in, and says where.</summary>
    public void Start(DisplayOption option)
    {
        _server.Start();
        if (_path is not null)
        {
            Notices.Say($"the screen is at the Unix socket {_path}, for VNC viewers");
            return;
        }

        var place = (IPEndPoint)_server.EndPoint;
        Notices.Say($"the screen is at {place}, for VNC viewers: vncviewer {place.Address}::{place.Port}");
        if (!IPAddress.IsLoopback(place.Address))
        {
            Notices.Say(option.Password is null
                ? $"whoever can reach {place} has the machine's screen and keyboard: no password is asked for; ,password-file=PATH sets one"
                : $"VNC hides nothing of what is sent to and from {place}; its password only keeps out who does not listen");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _server.DisposeAsync().ConfigureAwait(false);
        if (_path is not null)
        {
            File.Delete(_path);
        }
    }

    private static Socket Listen(string path)
    {
        if (File.Exists(path))
        {
            throw new InvalidInputException($"'{path}' exists already; remove it, or choose another path for the display's socket");
        }

        try
        {
            Socket socket = ControlSocket.Listen(path);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            return socket;
        }
        catch (Exception e) when (e is VivariumException or IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new InvalidInputException($"cannot make the display's socket '{path}': {(e.InnerException ?? e).Message}", e);
        }
    }
}
