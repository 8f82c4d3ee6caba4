using System.Globalization;
using System.Text;
using Vivarium.Devices.Host;

namespace Vivarium.Devices;

/// <summary>How far a connection has come.</summary>
internal enum VsockStage
{
    /// <summary>A program of the host has connected and not yet said to which port.</summary>
    Greeting,

    /// <summary>The guest has been asked, or is about to be.</summary>
    Requested,

    Established,

    /// <summary>The guest has closed its end; what it wrote before still goes to the host.</summary>
    Flushing,

    /// <summary>The host has closed its end and the guest knows; its answer is awaited.</summary>
    Closing,

    Gone,
}

/// <summary>Packets that a connection owes the guest.</summary>
[Flags]
internal enum VsockPending
{
    None = 0,
    Request = 1,
    Response = 2,
    CreditUpdate = 4,
    CreditRequest = 8,
    Shutdown = 16,
}

/// <summary>
/// A connection between a port of the guest and a Unix socket: what has been promised to whom (virtio 1.2, 5.10.6.3), and
/// what the host has not taken yet. Guarded by the device's gate.
/// </summary>
internal sealed class VsockConnection(long id, int socket, VsockStage stage)
{
    /// <summary>What a connection buffers for a host that does not read, in bytes: our buf_alloc.</summary>
    public const uint BufferAllocation = 128 << 10;

    /// <summary>The guest is told of freed room when so much has been freed. Less than the buffer, or it could wait for ever.</summary>
    private const uint CreditStep = BufferAllocation / 4;

    /// <summary>"CONNECT 4294967295" and the line's end.</summary>
    private const int LongestGreeting = 20;

    private readonly byte[] _greeting = stage == VsockStage.Greeting ? new byte[LongestGreeting] : [];
    private int _greetingLength;

    // A ring of what the host has not taken yet; there once it is needed.
    private byte[] _buffer = [];
    private int _first;
    private int _count;

    private uint _received;
    private uint _forwarded;
    private uint _forwardedTold;
    private uint _sent;
    private uint _peerForwarded;
    private uint _peerAllocation;
    private bool _writable = true;

    /// <summary>Under which its socket's events come.</summary>
    public long Id => id;

    /// <summary>The Unix socket; negative once it is closed.</summary>
    public int Socket { get; private set; } = socket;

    public VsockStage Stage { get; set; } = stage;

    public uint GuestPort { get; set; }

    public uint HostPort { get; set; }

    public (uint Guest, uint Host) Key => (GuestPort, HostPort);

    public VsockPending Pending { get; set; }

    /// <summary>It is among those that have something to do.</summary>
    public bool IsQueued { get; set; }

    /// <summary>The socket may have bytes, or its end, to read.</summary>
    public bool IsReadable { get; set; } = true;

    /// <summary>The host's program has closed the socket.</summary>
    public bool IsHungUp { get; set; }

    /// <summary>The guest has been asked for news of its room since it had any.</summary>
    public bool IsCreditAsked { get; set; }

    /// <summary>What the guest has said it will not do any more.</summary>
    public VsockShutdown GuestShutdown { get; set; }

    /// <summary>What the host's program will not do any more.</summary>
    public VsockShutdown HostShutdown { get; private set; }

    public bool IsFlushed => _count == 0;

    /// <summary>How many bytes the guest has room for.</summary>
    public uint PeerCredit
    {
        get
        {
            var inFlight = _sent - _peerForwarded;
            return inFlight >= _peerAllocation ? 0 : _peerAllocation - inFlight;
        }
    }

    /// <summary>There may be data to read for the guest, now or when it has room.</summary>
    public bool HasInput => Stage == VsockStage.Established && IsReadable
        && (HostShutdown & VsockShutdown.Send) == 0 && (GuestShutdown & VsockShutdown.Receive) == 0;

    public void TakeCredit(in VsockHeader header)
    {
        _peerAllocation = header.BufferAllocation;
        _peerForwarded = header.ForwardCount;
    }

    /// <summary>Fills in what every packet to the guest says of this connection.</summary>
    public void Describe(ref VsockHeader header)
    {
        header.SourcePort = HostPort;
        header.DestinationPort = GuestPort;
        header.BufferAllocation = BufferAllocation;
        header.ForwardCount = _forwarded;
        _forwardedTold = _forwarded;
        _sent += header.Length;
        Pending &= ~VsockPending.CreditUpdate;
    }

    /// <summary>
    /// Reads on for the line that says to which port; no port while it is not complete. What follows the line is left in
    /// the socket: it is the guest's. False if it is no such line, or the program has gone.
    /// </summary>
    public bool TryReadGreeting(out uint? port)
    {
        port = null;
        while (_greetingLength < LongestGreeting)
        {
            var room = _greeting.AsSpan(_greetingLength);
            var seen = LinuxSockets.Receive(Socket, room, peek: true);
            if (seen == LinuxSockets.TryAgain)
            {
                IsReadable = false;
                return true;
            }

            if (seen <= 0)
                return false;
            var end = room[..seen].IndexOf((byte)'\n');
            var taken = LinuxSockets.Receive(Socket, room[..(end < 0 ? seen : end + 1)], peek: false);
            if (end >= 0)
                return TryParseGreeting(_greeting.AsSpan(0, _greetingLength + end), out port);
            if (taken <= 0)
                return false;
            _greetingLength += taken;
        }

        return false;
    }

    /// <summary>Answers the line of <see cref="TryReadGreeting"/>; false if the program does not take it.</summary>
    public bool AnswerGreeting()
    {
        var answer = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"OK {HostPort}\n"));
        return LinuxSockets.Send(Socket, answer) == answer.Length;
    }

    /// <summary>Takes data of the guest: straight to the socket, or into the buffer. False if it is more than the guest may send.</summary>
    public bool TryTake(ref IoSegments data)
    {
        var length = (uint)data.Length;
        if ((GuestShutdown & VsockShutdown.Send) != 0 || length > BufferAllocation - (_received - _forwarded))
            return false;
        _received += length;
        if (_count == 0 && _writable && length != 0 && CanSend)
        {
            var sent = LinuxSockets.Send(Socket, data.Span);
            NoteSent(sent);
            if (sent > 0)
                data.TrySkip((ulong)sent);
        }

        if (!CanSend)
        {
            // Nobody reads it any more; the guest is being told.
            _forwarded = _received;
            return true;
        }

        Append(ref data);
        NoteFreed();
        return true;
    }

    /// <summary>The socket takes data again.</summary>
    public void Flush()
    {
        _writable = true;
        while (_count != 0 && _writable && CanSend)
        {
            var sent = LinuxSockets.Send(Socket, _buffer.AsSpan(_first, Math.Min(_count, _buffer.Length - _first)));
            NoteSent(sent);
            if (sent <= 0)
                continue;
            _first = (_first + sent) % _buffer.Length;
            _count -= sent;
        }

        NoteFreed();
        if (_count == 0 && (GuestShutdown & VsockShutdown.Send) != 0 && Socket >= 0)
            LinuxSockets.StopSending(Socket);
    }

    /// <summary>The host's program will not do this any more; the guest has to be told what it does not know yet.</summary>
    public void NoteHostShutdown(VsockShutdown flags)
    {
        if ((flags & ~HostShutdown) == 0)
            return;
        HostShutdown |= flags;
        Pending |= VsockPending.Shutdown;
        if ((flags & VsockShutdown.Receive) == 0)
            return;
        _count = 0;
        _forwarded = _received;
    }

    /// <summary>The guest's shutdown as far as the host's program can see it.</summary>
    public void PassShutdownOn()
    {
        if (Socket < 0)
            return;
        if ((GuestShutdown & VsockShutdown.Receive) != 0)
            LinuxSockets.StopReceiving(Socket);
        if ((GuestShutdown & VsockShutdown.Send) != 0 && _count == 0)
            LinuxSockets.StopSending(Socket);
    }

    public void CloseSocket()
    {
        if (Socket >= 0)
            _ = LinuxSockets.Close(Socket);
        Socket = -1;
        _buffer = [];
        _count = 0;
    }

    private bool CanSend => Socket >= 0 && (HostShutdown & VsockShutdown.Receive) == 0;

    private static bool TryParseGreeting(ReadOnlySpan<byte> line, out uint? port)
    {
        const uint anyPort = uint.MaxValue;
        var word = "CONNECT "u8;
        port = null;
        if (!line.StartsWith(word) || !uint.TryParse(line[word.Length..].TrimEnd((byte)'\r'), NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number == anyPort)
            return false;
        port = number;
        return true;
    }

    private void NoteSent(int sent)
    {
        if (sent >= 0)
            _forwarded += (uint)sent;
        else if (sent == LinuxSockets.TryAgain)
            _writable = false;
        else
            NoteHostShutdown(VsockShutdown.Receive);
    }

    private void NoteFreed()
    {
        if (_forwarded - _forwardedTold >= CreditStep)
            Pending |= VsockPending.CreditUpdate;
    }

    private void Append(ref IoSegments data)
    {
        if (data.Length == 0)
            return;
        if (_buffer.Length == 0)
            _buffer = new byte[BufferAllocation];
        while (data.Length != 0)
        {
            var at = (_first + _count) % _buffer.Length;
            var part = (int)Math.Min(data.Length, (ulong)(_buffer.Length - at));
            _ = data.TryRead(_buffer.AsSpan(at, part));
            _count += part;
        }
    }
}
