using System.Net;
using System.Net.Sockets;
using Vivarium.Devices;

namespace Vivarium.Display.Rfb;

/// <summary>
/// Shows a screen to VNC clients (RFC 6143: RFB 3.3, 3.7, 3.8). Each client has tasks of its own, is sent a picture only when it
/// asks for one, and reads it as slowly as it likes: nobody waits for it, least of all the machine.
/// </summary>
public sealed class RfbServer : IAsyncDisposable
{
    private const int MostClients = 16;
    private const int Backlog = 16;
    private static readonly TimeSpan s_refresh = TimeSpan.FromMilliseconds(30);
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    // A peer that has vanished without a word is noticed after so many seconds.
    private const int KeepAliveIdle = 15;
    private const int KeepAliveInterval = 5;
    private const int KeepAliveCount = 3;

    private readonly Socket _listener;
    private readonly RfbHost _host;
    private readonly CancellationTokenSource _closing = new();
    private readonly List<RfbSession> _sessions = [];
    private readonly SemaphoreSlim _someone = new(0);
    private readonly Frame _frame = new();
    private Task _accepting = Task.CompletedTask;
    private Task _refreshing = Task.CompletedTask;

    /// <param name="listener">A socket that listens; the server's from now on.</param>
    /// <param name="host">What is shown, and who takes input.</param>
    public RfbServer(Socket listener, RfbHost host)
    {
        _listener = listener;
        _host = host;
    }

    /// <summary>Where it listens; with the port that was chosen.</summary>
    public EndPoint EndPoint => _listener.LocalEndPoint!;

    /// <summary>Opens a TCP port.</summary>
    /// <param name="endPoint">Port 0 takes any free one.</param>
    /// <param name="host">What is shown, and who takes input.</param>
    /// <exception cref="SocketException">The port cannot be had.</exception>
    public static RfbServer Open(IPEndPoint endPoint, RfbHost host)
    {
        var listener = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(endPoint);
            listener.Listen(Backlog);
            return new RfbServer(listener, host);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    /// <summary>Lets clients in.</summary>
    public void Start()
    {
        _accepting = Task.Run(AcceptAsync);
        _refreshing = Task.Run(RefreshAsync);
    }

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(false);
        await _refreshing.ConfigureAwait(false);
        Task[] ends;
        lock (_sessions)
        {
            ends = [.. _sessions.Select(session => session.Ended)];
        }

        await Task.WhenAll(ends).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task AcceptAsync()
    {
        while (!_closing.IsCancellationRequested)
        {
            try
            {
                Socket client = await _listener.AcceptAsync(_closing.Token).ConfigureAwait(false);
                if (!TryBegin(client))
                {
                    client.Dispose();
                }
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException)
            {
                // Out of descriptors, or a client that was gone at once: the next one may fare better.
                await Task.Delay(s_pause).ConfigureAwait(false);
            }
        }
    }

    private bool TryBegin(Socket client)
    {
        if (client.AddressFamily != AddressFamily.Unix)
        {
            client.NoDelay = true;
            client.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, KeepAliveIdle);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, KeepAliveInterval);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, KeepAliveCount);
        }

        RfbSession session;
        lock (_sessions)
        {
            if (_sessions.Count == MostClients)
            {
                return false;
            }

            session = new RfbSession(new NetworkStream(client, ownsSocket: true), _host, _frame, Look, _closing.Token);
            _sessions.Add(session);
        }

        _ = session.Ended.ContinueWith(_ => Remove(session), TaskScheduler.Default);
        session.Start();
        _ = _someone.Release();
        return true;
    }

    private void Remove(RfbSession session)
    {
        lock (_sessions)
        {
            _ = _sessions.Remove(session);
        }
    }

    /// <summary>Looks at the screen as long as somebody does.</summary>
    private async Task RefreshAsync()
    {
        try
        {
            while (true)
            {
                RfbSession[] sessions;
                lock (_sessions)
                {
                    sessions = [.. _sessions];
                }

                if (sessions.Length == 0)
                {
                    await _someone.WaitAsync(_closing.Token).ConfigureAwait(false);
                    continue;
                }

                if (sessions.Any(session => session.Waits))
                {
                    Look();
                }

                await Task.Delay(s_refresh, _closing.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    /// <summary>Brings the picture up to date, and tells everybody what has changed.</summary>
    private void Look()
    {
        lock (_frame)
        {
            if (!_host.Screen.Refresh(_frame))
            {
                return;
            }

            lock (_sessions)
            {
                foreach (RfbSession session in _sessions)
                {
                    session.Note(_frame);
                }
            }
        }
    }
}
