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

    /// <exception cref="SocketException">Nobody listens there.</exception>
    /// <exception cref="OperationCanceledException">Whoever listens accepts nobody.</exception>
    public static Socket Connect(string path, TimeSpan patience)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            using var deadline = new CancellationTokenSource(patience);
            WithAddress(path, address => socket.ConnectAsync(address, deadline.Token).AsTask().GetAwaiter().GetResult());
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
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
