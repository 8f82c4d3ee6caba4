using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Cli.Machines.Host;

namespace Vivarium.Cli.Machines;

/// <summary>
/// Unix sockets at paths of any length. An address of unix(7) holds 108 bytes; a longer path is reached through a descriptor of
/// its folder, by /proc/self/fd.
/// </summary>
internal static class ControlSocket
{
    private const int LongestAddress = 107;
    private const int Backlog = 64;
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(10);

    public static Socket Listen(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            WithAddress(path, address =>
            {
                socket.Bind(address);
                socket.Listen(Backlog);
            });
            return socket;
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new VivariumException($"cannot make the control socket {path}: {e.Message}", e);
        }
    }

    /// <exception cref="SocketException">Nobody listens there; or, with EAGAIN, whoever listens accepts nobody for so long.</exception>
    public static Socket Connect(string path, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { Blocking = false };
            try
            {
                // Of a Unix socket that does not block, connect(2) succeeds or fails at once.
                WithAddress(path, socket.Connect);
                socket.Blocking = true;
                return socket;
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain && Environment.TickCount64 < end)
            {
                socket.Dispose();
                Thread.Sleep(s_pause);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }

    private static void WithAddress(string path, Action<UnixDomainSocketEndPoint> use)
    {
        if (Encoding.UTF8.GetByteCount(path) <= LongestAddress)
        {
            use(new UnixDomainSocketEndPoint(path));
            return;
        }

        int folder = Linux.Open(Path.GetDirectoryName(path)!, Linux.OpenPath | Linux.OpenDirectory | Linux.OpenCloseOnExec, 0);
        if (folder < 0)
        {
            throw new IOException($"cannot open the folder of {path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        try
        {
            use(new UnixDomainSocketEndPoint($"/proc/self/fd/{folder}/{Path.GetFileName(path)}"));
        }
        finally
        {
            _ = Linux.Close(folder);
        }
    }
}
