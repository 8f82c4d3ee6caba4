using System.Threading.Channels;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb;

/// <summary>
/// A client from its first byte to its last, or the machine's end. The machine is touched only when a first packet is
/// right; whatever ends the session lets it run on as if nobody had been there.
/// </summary>
internal sealed class GdbSession
{
    /// <summary>How often in a row a client may ask for the same packet again.</summary>
    private const int MostRepeats = 16;

    private readonly Stream _stream;
    private readonly IDebugTarget _target;
    private readonly RegisterSet _registers;
    private readonly PacketReader _reader = new();
    private readonly Reply _reply = new();
    private readonly Channel<DebugEvent> _events = Channel.CreateUnbounded<DebugEvent>(new UnboundedChannelOptions { SingleReader = true });
    private readonly List<byte> _outgoing = [];
    private GdbStub? _stub;
    private byte[] _lastFrame = [];
    private int _repeats;
    private bool _running;
    private bool _over;

    public GdbSession(Stream stream, IDebugTarget target, RegisterSet registers)
    {
        _stream = stream;
        _target = target;
        _registers = registers;
    }

    /// <summary>As <see cref="GdbStub.Wants32"/>.</summary>
    public bool? Wants32 => _stub?.Wants32;

    /// <summary>Returns when the client has gone, or was sent away.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    public async Task RunAsync(CancellationToken cancellation)
    {
        byte[] buffer = new byte[PacketReader.MaxLength];
        try
        {
            Task<int>? received = null;
            Task<bool>? happened = null;
            bool any = false;
            while (!_over)
            {
                received ??= _stream.ReadAsync(buffer, cancellation).AsTask();
                happened ??= _events.Reader.WaitToReadAsync(cancellation).AsTask();
                _ = await Task.WhenAny(received, happened).ConfigureAwait(false);
                if (happened.IsCompleted)
                {
                    happened = null;
                    TakeEvents();
                }

                if (received.IsCompleted)
                {
                    int length = await received.ConfigureAwait(false);
                    received = null;
                    if (length == 0 || (!any && !IsClient(buffer[0])))
                    {
                        return;
                    }

                    any = true;
                    TakeBytes(buffer.AsSpan(0, length));
                }

                if (_outgoing.Count != 0)
                {
                    byte[] bytes = [.. _outgoing];
                    _outgoing.Clear();
                    await _stream.WriteAsync(bytes, cancellation).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>GDB begins with one of these. A web browser that was led here does not.</summary>
    private static bool IsClient(byte first) => first is (byte)'+' or (byte)'-' or (byte)'$' or 0x03;

    private void TakeBytes(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && !_over)
        {
            Token token = _reader.Take(bytes, out int taken);
            bytes = bytes[taken..];
            switch (token)
            {
                case Token.Packet:
                    Acknowledge('+');
                    TakePacket(_reader.Packet);
                    break;
                case Token.Damaged:
                    Acknowledge('-');
                    break;
                case Token.TooLong:
                    Acknowledge('+');
                    _reply.Clear();
                    Send(_reply.Error(ErrorNumber.TooMany));
                    break;
                case Token.Interrupt:
                    Interrupt();
                    break;
                case Token.Refused when _repeats < MostRepeats:
                    _repeats++;
                    _outgoing.AddRange(_lastFrame);
                    break;
                default:
                    break;
            }
        }
    }

    private void TakePacket(ReadOnlySpan<byte> packet)
    {
        lock (_target.Gate)
        {
            if (!TryAttach() || _target.HasEnded)
            {
                // The event that says so is on its way, if the client was told of a machine at all.
                _over |= _stub is null;
                return;
            }

            if (_running)
            {
                if (packet is not [(byte)'D', ..] and not [(byte)'k', ..] and not [(byte)'v', (byte)'K', ..])
                {
                    // GDB waits for the machine to stop, and sends nothing else.
                    return;
                }

                _target.Stop();
                _running = false;
            }

            switch (_stub!.Handle(packet))
            {
                case Outcome.Running:
                    _running = true;
                    break;
                case Outcome.Detached:
                    Send(_reply);
                    _over = true;
                    break;
                case Outcome.Killed:
                    if (!_reply.Data.IsEmpty)
                    {
                        Send(_reply);
                    }

                    _target.Kill();
                    _over = true;
                    break;
                default:
                    Send(_reply);
                    break;
            }
        }
    }

    /// <summary>With the first packet the machine stops, as GDB expects to find it. False: there is another debugger.</summary>
    private bool TryAttach()
    {
        if (_stub is not null)
        {
            return true;
        }

        if (_target.HasEnded || !_target.TryAttach(happened => _events.Writer.TryWrite(happened)))
        {
            return false;
        }

        _target.Stop();
        _stub = new GdbStub(_target, _registers, _reply);
        return true;
    }

    private void Interrupt()
    {
        lock (_target.Gate)
        {
            if (!_running || _target.HasEnded)
            {
                return;
            }

            _target.Stop();
        }

        // What happened just before is what the client is told.
        TakeEvents();
        lock (_target.Gate)
        {
            if (_running && !_target.HasEnded)
            {
                _target.Stop();
                _running = false;
                _stub!.TakeInterrupt();
                Send(_reply);
            }
        }
    }

    private void TakeEvents()
    {
        lock (_target.Gate)
        {
            while (_events.Reader.TryRead(out DebugEvent happened))
            {
                if (happened.Kind is not (DebugEventKind.Stopped or DebugEventKind.Crashed))
                {
                    if (_running)
                    {
                        _reply.Clear();
                        GdbStub.WriteEnd(_reply, happened.Kind);
                        Send(_reply);
                    }

                    _over = true;
                    return;
                }

                if (_target.HasEnded)
                {
                    continue;
                }

                if (!_running)
                {
                    _stub!.KeepForLater(happened);
                    continue;
                }

                _target.Stop();
                if (_stub!.TakeStop(happened))
                {
                    _running = false;
                    Send(_reply);
                }
            }
        }
    }

    private void Send(Reply reply)
    {
        _lastFrame = reply.Frame();
        _repeats = 0;
        _outgoing.AddRange(_lastFrame);
    }

    private void Acknowledge(char answer)
    {
        if (_stub is not { NoAcknowledgements: true })
        {
            _outgoing.Add((byte)answer);
        }
    }

    private void Leave()
    {
        if (_stub is null)
        {
            return;
        }

        lock (_target.Gate)
        {
            if (!_target.HasEnded)
            {
                _target.Stop();
                _stub.Leave();
            }

            _target.Detach();
        }
    }
}
