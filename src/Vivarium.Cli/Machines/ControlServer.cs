using System.Net.Sockets;
using System.Text.Json;

namespace Vivarium.Cli.Machines;

/// <summary>
/// Answers on a machine's control socket. Every client has a task of its own and nothing is locked while one is waited for, so a
/// slow or hostile one holds up nobody: lines have a greatest length, requests and answers a time limit, clients a greatest number.
/// </summary>
internal sealed class ControlServer(string path, IControlledMachine machine) : IAsyncDisposable
{
    private const int MostClients = 96;

    /// <summary>Of these may stay as long as they like (consoles, waits), so that a stop or kill always finds room.</summary>
    private const int MostGuests = 64;

    private const int ChunkSize = 4096;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_deafGuestPause = TimeSpan.FromMilliseconds(20);

    private readonly CancellationTokenSource _closing = new();
    private Socket? _listener;
    private Task _accepting = Task.CompletedTask;
    private int _clients;
    private int _guests;

    /// <summary>Makes the socket, and answers from now on.</summary>
    /// <exception cref="VivariumException">The socket cannot be made.</exception>
    public void Open()
    {
        Socket listener = ControlSocket.Listen(path);
        _listener = listener;
        _accepting = Task.Run(() => AcceptAsync(listener));
    }

    /// <summary>Lets clients that wait for the machine's end, or look at its console, have what is theirs, for a moment; then closes.</summary>
    public async ValueTask DisposeAsync()
    {
        long end = Environment.TickCount64 + (long)s_farewell.TotalMilliseconds;
        while (Volatile.Read(ref _guests) > 0 && Environment.TickCount64 < end)
        {
            await Task.Delay(5).ConfigureAwait(false);
        }

        await _closing.CancelAsync().ConfigureAwait(false);
        _listener?.Dispose();
        await _accepting.ConfigureAwait(false);
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (!_closing.IsCancellationRequested)
        {
            try
            {
                _ = ServeAsync(await listener.AcceptAsync(_closing.Token).ConfigureAwait(false));
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException)
            {
                // Out of descriptors, or a client that was gone at once: the next one may fare better.
                await Task.Delay(s_deafGuestPause).ConfigureAwait(false);
            }
        }
    }

    private async Task ServeAsync(Socket client)
    {
        try
        {
            if (Interlocked.Increment(ref _clients) > MostClients)
            {
                await AnswerAsync(client, Refusal("too many clients are connected; try again")).ConfigureAwait(false);
                return;
            }

            await ConverseAsync(client).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // The client went away, or was too slow.
        }
        finally
        {
            Interlocked.Decrement(ref _clients);
            client.Dispose();
        }
    }

    private async Task ConverseAsync(Socket client)
    {
        using var measurement = new HeldMeasurement(machine);
        byte[] buffer = new byte[ControlRequest.LongestLine + 1];
        int length = 0;
        while (true)
        {
            int lineEnd = buffer.AsSpan(0, length).IndexOf((byte)'\n');
            if (lineEnd < 0)
            {
                if (length == buffer.Length)
                {
                    await AnswerAsync(client, Refusal($"a request has {ControlRequest.LongestLine} bytes at most")).ConfigureAwait(false);
                    return;
                }

                using CancellationTokenSource deadline = Deadline();
                int count = await client.ReceiveAsync(buffer.AsMemory(length), deadline.Token).ConfigureAwait(false);
                if (count == 0)
                {
                    return;
                }

                length += count;
                continue;
            }

            bool understood = ControlRequest.TryParse(buffer.AsSpan(0, lineEnd), out ControlOrder order, out string error);
            buffer.AsSpan(lineEnd + 1, length - lineEnd - 1).CopyTo(buffer);
            length -= lineEnd + 1;
            if (!understood)
            {
                await AnswerAsync(client, Refusal(error)).ConfigureAwait(false);
                continue;
            }

            if (order.Verb is ControlVerb.Wait or ControlVerb.Console or >= ControlVerb.Type)
            {
                await StayAsync(client, order, buffer.AsMemory(0, length)).ConfigureAwait(false);
                return;
            }

            if (order.Verb == ControlVerb.Screenshot)
            {
                await ShowPictureAsync(client).ConfigureAwait(false);
                continue;
            }

            await AnswerAsync(client, await ObeyAsync(order, measurement).ConfigureAwait(false)).ConfigureAwait(false);
        }
    }

    private async Task<ControlReply> ObeyAsync(ControlOrder order, HeldMeasurement measurement)
    {
        switch (order.Verb)
        {
            case ControlVerb.Stop:
                machine.PressPowerButton();
                return new ControlReply { Ok = true };
            case ControlVerb.Kill:
                machine.Kill();
                return new ControlReply { Ok = true };
            case ControlVerb.Balloon:
                try
                {
                    return new ControlReply { Ok = true, Balloon = await machine.AskBalloonAsync(order.Target, order.Collect).ConfigureAwait(false) };
                }
                catch (VivariumException e)
                {
                    return Refusal(e.Message);
                }

            case ControlVerb.Statistics:
                measurement.Begin();
                return new ControlReply { Ok = true, Statistics = machine.Sample() };
            default:
                return new ControlReply { Ok = true, Machine = machine.Record };
        }
    }

    private async Task ShowPictureAsync(Socket client)
    {
        byte[] picture;
        try
        {
            picture = machine.TakePicture();
        }
        catch (VivariumException e)
        {
            await AnswerAsync(client, Refusal(e.Message)).ConfigureAwait(false);
            return;
        }

        await AnswerAsync(client, new ControlReply { Ok = true, Length = picture.Length }).ConfigureAwait(false);
        await SendAsync(client, picture).ConfigureAwait(false);
    }

    private async Task StayAsync(Socket client, ControlOrder order, ReadOnlyMemory<byte> typedAhead)
    {
        try
        {
            if (Interlocked.Increment(ref _guests) > MostGuests)
            {
                await AnswerAsync(client, Refusal("too many consoles are open; close one")).ConfigureAwait(false);
            }
            else if (order.Verb == ControlVerb.Wait)
            {
                await WaitAsync(client).ConfigureAwait(false);
            }
            else if (order.Verb != ControlVerb.Console)
            {
                await OperateAsync(client, order).ConfigureAwait(false);
            }
            else
            {
                await AnswerAsync(client, new ControlReply { Ok = true }).ConfigureAwait(false);
                await ShowConsoleAsync(client, typedAhead).ConfigureAwait(false);
            }
        }
        finally
        {
            Interlocked.Decrement(ref _guests);
        }
    }

    private async Task WaitAsync(Socket client)
    {
        // Answered twice: the client must know that its waiting counts before it does what may end the machine.
        await AnswerAsync(client, new ControlReply { Ok = true }).ConfigureAwait(false);
        using var left = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
        Task hangUp = WatchForHangUpAsync(client, left);
        EndRecord ended = await machine.Ended.WaitAsync(left.Token).ConfigureAwait(false);
        await AnswerAsync(client, new ControlReply { Ok = true, Ended = ended }).ConfigureAwait(false);
        await left.CancelAsync().ConfigureAwait(false);
        await hangUp.ConfigureAwait(false);
    }

    /// <summary>What may take its time; who hangs up wants it no longer.</summary>
    private async Task OperateAsync(Socket client, ControlOrder order)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
        Task hangUp = WatchForHangUpAsync(client, left);
        ControlReply reply;
        try
        {
            reply = new ControlReply { Ok = true, Found = await machine.OperateAsync(order, left.Token).ConfigureAwait(false) };
        }
        catch (VivariumException e)
        {
            reply = Refusal(e.Message);
        }

        await AnswerAsync(client, reply).ConfigureAwait(false);
        await left.CancelAsync().ConfigureAwait(false);
        await hangUp.ConfigureAwait(false);
    }

    private static async Task WatchForHangUpAsync(Socket client, CancellationTokenSource left)
    {
        byte[] ignored = new byte[64];
        try
        {
            while (await client.ReceiveAsync(ignored.AsMemory(), left.Token).ConfigureAwait(false) > 0)
            {
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
        }

        await left.CancelAsync().ConfigureAwait(false);
    }

    private async Task ShowConsoleAsync(Socket client, ReadOnlyMemory<byte> typedAhead)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
        Task typing = TypeAsync(client, typedAhead.ToArray(), left);
        using ConsoleViewer viewer = machine.Console.View();
        byte[] buffer = new byte[ChunkSize];
        try
        {
            while (await viewer.ReadAsync(buffer, left.Token).ConfigureAwait(false) is > 0 and int count)
            {
                for (int sent = 0; sent < count;)
                {
                    sent += await client.SendAsync(buffer.AsMemory(sent, count - sent), left.Token).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            await left.CancelAsync().ConfigureAwait(false);
            await typing.ConfigureAwait(false);
        }
    }

    /// <summary>Passes on what the viewer types, no faster than the guest takes it.</summary>
    private async Task TypeAsync(Socket client, ReadOnlyMemory<byte> typedAhead, CancellationTokenSource left)
    {
        byte[] keys = new byte[ChunkSize];
        ReadOnlyMemory<byte> typed = typedAhead;
        try
        {
            while (true)
            {
                while (!typed.IsEmpty && !machine.TryType(typed.Span))
                {
                    await Task.Delay(s_deafGuestPause, left.Token).ConfigureAwait(false);
                }

                int count = await client.ReceiveAsync(keys.AsMemory(), left.Token).ConfigureAwait(false);
                if (count == 0)
                {
                    break;
                }

                typed = keys.AsMemory(0, count);
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or ObjectDisposedException)
        {
        }

        await left.CancelAsync().ConfigureAwait(false);
    }

    private CancellationTokenSource Deadline()
    {
        var deadline = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
        deadline.CancelAfter(s_patience);
        return deadline;
    }

    private static ControlReply Refusal(string sentence) => new() { Ok = false, Error = sentence };

    private static Task AnswerAsync(Socket client, ControlReply reply) =>
        SendAsync(client, [.. JsonSerializer.SerializeToUtf8Bytes(reply, ControlJson.Default.ControlReply), (byte)'\n']);

    private static async Task SendAsync(Socket client, byte[] bytes)
    {
        using var deadline = new CancellationTokenSource(s_patience);
        for (int sent = 0; sent < bytes.Length;)
        {
            sent += await client.SendAsync(bytes.AsMemory(sent), deadline.Token).ConfigureAwait(false);
        }
    }

    /// <summary>What a client that asks for statistics has made the machine measure, until it goes.</summary>
    private sealed class HeldMeasurement(IControlledMachine measured) : IDisposable
    {
        private IDisposable? _held;

        public void Begin() => _held ??= measured.Measure();

        public void Dispose() => _held?.Dispose();
    }
}
