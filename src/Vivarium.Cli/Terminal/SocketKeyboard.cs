using System.Net.Sockets;

namespace Vivarium.Cli.Terminal;

/// <summary>
/// The console of a machine in another process. The thread that reads the terminal may still have a key in hand when the
/// console is left and its socket is closed: then nobody takes it, which is no error.
/// </summary>
internal sealed class SocketKeyboard(Socket socket) : IKeyboard
{
    public bool Type(ReadOnlySpan<byte> keys) => Send(keys, waits: true);

    /// <summary>Without waiting, so that Ctrl-A always gets through: keys that a deaf guest does not take are dropped.</summary>
    public bool TryType(ReadOnlySpan<byte> keys) => Send(keys, waits: false);

    private bool Send(ReadOnlySpan<byte> keys, bool waits)
    {
        try
        {
            if (!waits && !socket.Poll(0, SelectMode.SelectWrite))
            {
                return false;
            }

            while (!keys.IsEmpty)
            {
                keys = keys[socket.Send(keys)..];
            }

            return true;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
