using System.Net.Sockets;
using System.Text.Json;

namespace Vivarium.Cli.Machines;

/// <summary>A connection to a machine's control socket.</summary>
internal sealed class ControlClient : IDisposable
{
    private const int LongestReply = 1 << 20;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly MachineEntry _machine;

    private ControlClient(MachineEntry machine, Socket socket)
    {
        _machine = machine;
        Socket = socket;
    }

    public Socket Socket { get; }

    /// <exception cref="VivariumException">The machine is not yet there, or its process does not answer.</exception>
    public static ControlClient Connect(MachineEntry machine)
    {
        try
        {
            return new ControlClient(machine, ControlSocket.Connect(machine.Socket, s_patience));
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain)
        {
            throw Silent(machine);
        }
        catch (SocketException e)
        {
            throw new VivariumException(machine.Record is null or { Stage: MachineStage.Starting }
                ? $"machine {machine.Described} is still starting; try again in a moment"
                : $"machine {machine.Described} cannot be reached ({e.Message}); it may just have ended, see viv ps", e);
        }
    }

    /// <summary>Asks and waits for the answer.</summary>
    /// <exception cref="VivariumException">The machine refuses, or does not answer.</exception>
    public ControlReply Ask(ControlVerb verb) =>
        TryAsk(verb, s_patience) ?? throw Silent(_machine);

    /// <summary>Asks and waits for the answer; null if there is none within the time.</summary>
    public ControlReply? TryAsk(ControlVerb verb, TimeSpan patience) => TryAsk(new ControlOrder(verb), patience);

    /// <summary>Asks and waits for the answer.</summary>
    /// <exception cref="VivariumException">The machine refuses, or does not answer within the time.</exception>
    public ControlReply Ask(ControlOrder order, TimeSpan patience) => TryAsk(order, patience) ?? throw Silent(_machine);

    private ControlReply? TryAsk(ControlOrder order, TimeSpan patience)
    {
        Send(order);
        return Receive(patience);
    }

    public void Send(ControlVerb verb) => Send(new ControlOrder(verb));

    private void Send(ControlOrder order)
    {
        try
        {
            Socket.SendTimeout = (int)s_patience.TotalMilliseconds;
            _ = Socket.Send(ControlRequest.Format(order));
        }
        catch (SocketException)
        {
            throw Lost();
        }
    }

    /// <summary>The next answer; null if there is none within the time. Takes no byte beyond it, for those may be the guest's.</summary>
    public ControlReply? Receive(TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        var line = new List<byte>();
        Span<byte> one = stackalloc byte[1];
        try
        {
            while (line.Count < LongestReply)
            {
                Socket.ReceiveTimeout = (int)Math.Clamp(end - Environment.TickCount64, 1, int.MaxValue);
                if (Socket.Receive(one) == 0)
                {
                    throw Lost();
                }

                if (one[0] == '\n')
                {
                    return Understand(line);
                }

                line.Add(one[0]);
            }

            throw Lost();
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock)
        {
            return null;
        }
        catch (SocketException)
        {
            throw Lost();
        }
    }

    /// <summary>The bytes that come after an answer.</summary>
    /// <exception cref="VivariumException">They do not come.</exception>
    public byte[] ReceiveBytes(int count, TimeSpan patience)
    {
        byte[] bytes = new byte[count];
        try
        {
            Socket.ReceiveTimeout = (int)patience.TotalMilliseconds;
            for (int received = 0; received < count;)
            {
                int part = Socket.Receive(bytes.AsSpan(received));
                received += part != 0 ? part : throw Lost();
            }

            return bytes;
        }
        catch (SocketException)
        {
            throw Lost();
        }
    }

    public void Dispose() => Socket.Dispose();

    private ControlReply Understand(List<byte> line)
    {
        ControlReply? reply;
        try
        {
            reply = JsonSerializer.Deserialize(line.ToArray(), ControlJson.Default.ControlReply);
        }
        catch (JsonException e)
        {
            throw new VivariumException($"machine {_machine.Described} gave an answer that this viv does not understand; do both have the same version?", e);
        }

        return reply switch
        {
            { Ok: true } => reply,
            _ => throw new VivariumException($"machine {_machine.Described} refuses: {reply?.Error}"),
        };
    }

    private VivariumException Lost() => new($"machine {_machine.Described} ended during the conversation; see viv ps");

    private static VivariumException Silent(MachineEntry machine) =>
        new($"machine {machine.Described} does not answer; is its process stopped? viv kill {machine.Name} ends it");
}
