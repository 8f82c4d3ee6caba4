using System.Net;
using System.Net.Sockets;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb;

/// <summary>Waits for debuggers on a TCP port. One at a time: others are turned away.</summary>
public sealed class GdbServer : IAsyncDisposable
{
    /// <summary>How long a client waits for a machine that is just being reset.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(10);

    // A peer that has vanished without a word is noticed after so many seconds.
    private const int KeepAliveIdle = 15;
    private const int KeepAliveInterval = 5;
    private const int KeepAliveCount = 3;

    private readonly Socket _listener;
    private readonly Func<IDebugTarget?> _find;
    private readonly CancellationTokenSource _closing = new();
    private Task _accepting = Task.CompletedTask;
    private bool _wants32;

    private GdbServer(Socket listener, Func<IDebugTarget?> find)
    {
        _listener = listener;
        _find = find;
    }

    /// <summary>Where it listens; the port is the one that was chosen.</summary>
    public IPEndPoint EndPoint => (IPEndPoint)_listener.LocalEndPoint!;

    /// <summary>Opens the port; nobody is let in before <see cref="Start"/>.</summary>
    /// <param name="endPoint">Port 0 takes any free one.</param>
    /// <param name="find">The machine as it is now; null while it is being reset.</param>
    /// <exception cref="SocketException">The port cannot be had.</exception>
    public static GdbServer Open(IPEndPoint endPoint, Func<IDebugTarget?> find)
    {
        var listener = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(endPoint);
            listener.Listen();
            return new GdbServer(listener, find);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    public void Start() => _accepting = Task.Run(AcceptAsync);

    public async ValueTask DisposeAsync()
    {
        await _closing.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(false);
        _closing.Dispose();
    }

    private async Task AcceptAsync()
    {
        Task present = Task.CompletedTask;
        while (!_closing.IsCancellationRequested)
        {
            try
            {
                Socket client = await _listener.AcceptAsync(_closing.Token).ConfigureAwait(false);
                if (present.IsCompleted)
                {
                    present = ServeAsync(client);
                }
                else
                {
                    client.Dispose();
                }
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                break;
            }
            catch (SocketException)
            {
                // Out of descriptors, or the client has gone: the next may have more luck.
                await Task.Delay(s_pause).ConfigureAwait(false);
            }
        }

        // However it has ended: the machine does not suffer for it.
        await present.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task ServeAsync(Socket client)
    {
        try
        {
            client.NoDelay = true;
            client.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, KeepAliveIdle);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, KeepAliveInterval);
            client.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, KeepAliveCount);
            await using var stream = new NetworkStream(client, ownsSocket: true);
            if (await FindAsync().ConfigureAwait(false) is not { } target)
            {
                return;
            }

            bool hasAvx = target.Model.Has(Engine.CpuFeature.Avx);
            var session = new GdbSession(stream, target, _wants32 ? RegisterSet.Create32(hasAvx) : RegisterSet.Create64(hasAvx));
            try
            {
                await session.RunAsync(_closing.Token).ConfigureAwait(false);
            }
            finally
            {
                _wants32 = session.Wants32 ?? _wants32;
            }
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // It has gone, and the session has cleaned up behind it.
        }
        finally
        {
            client.Dispose();
        }
    }

    private async Task<IDebugTarget?> FindAsync()
    {
        for (TimeSpan waited = TimeSpan.Zero; waited < s_patience; waited += s_pause)
        {
            if (_find() is { HasEnded: false } target)
            {
                return target;
            }

            await Task.Delay(s_pause, _closing.Token).ConfigureAwait(false);
        }

        return null;
    }
}
