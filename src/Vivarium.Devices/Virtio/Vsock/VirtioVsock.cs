using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vivarium.Devices.Host;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A socket device (virtio 1.2, 5.10): streams between ports of the guest and Unix sockets of the host
/// (<see cref="VsockSockets"/>). What the guest sends goes to the host's socket on the thread of the vCPU that notified; what
/// comes from sockets is read into the guest's buffers on the sockets' thread. Of what a socket does not take at once, each
/// connection keeps as much as the guest was told it may send, and no more is read from a socket than the guest has room for.
/// </summary>
/// <remarks>
/// Lock order: <see cref="_gate"/>, then the device's lock. The gate is held while sockets are read and written, which never
/// blocks, and while the transmit queue is drained: packets must not overtake each other.
/// </remarks>
public sealed class VirtioVsock : VirtioDevice
{
    // Context identifiers (5.10.4).
    public const uint HostCid = 2;
    public const uint FirstGuestCid = 3;
    public const uint LastGuestCid = uint.MaxValue - 1;
    public const uint DefaultGuestCid = FirstGuestCid;

    /// <summary>Sockets that are open at a time, and connections that the guest may know of.</summary>
    public const int MaxConnections = 1024;

    private const ushort QueueSize = 128;

    // Queues (5.10.2).
    private const int ReceiveQueue = 0;
    private const int TransmitQueue = 1;
    private const int EventQueue = 2;

    // Feature bits (5.10.3).
    private const ulong FeatureStream = 1ul << 0;

    // struct virtio_vsock_config (5.10.4): guest_cid, 64 bits.
    private const int ConfigLength = 8;

    // struct virtio_vsock_event (5.10.6.7): id, 32 bits.
    private const int EventLength = 4;
    private const uint EventTransportReset = 0;

    /// <summary>Resets that wait for the guest to have buffers for them; with more, its packets have to wait (5.10.6.1.2).</summary>
    private const int MaxResets = 256;

    /// <summary>Data in one packet, in bytes; Linux takes no more.</summary>
    private const uint MaxData = 64 << 10;

    /// <summary>Packets with data for one connection before it is another's turn, and before the gate is opened.</summary>
    private const int PacketsPerTurn = 16;
    private const int PacketsAtOnce = 64;

    /// <summary>Ports of the host for connections that its programs make: those below are for the user to listen at.</summary>
    private const uint FirstDynamicPort = 1u << 30;

    private readonly VsockSockets _sockets;
    private readonly uint _cid;
    private readonly Lock _gate = new();
    private readonly Dictionary<(uint Guest, uint Host), VsockConnection> _connections = [];
    private readonly Dictionary<long, VsockConnection> _open = [];
    private readonly Queue<VsockConnection> _ready = new();
    private readonly Queue<VsockHeader> _resets = new();
    private long _lastId;
    private uint _nextPort = FirstDynamicPort;
    private bool _eventDue;
    private bool _stalled;

    /// <summary>The guest has no receive buffers; it notifies when it has.</summary>
    private bool _starved;

    /// <param name="memory">The RAM that the queues are in.</param>
    /// <param name="cid">The guest's context identifier, <see cref="FirstGuestCid"/> to <see cref="LastGuestCid"/>.</param>
    /// <param name="sockets">The host's end; it belongs to the caller.</param>
    public VirtioVsock(GuestMemory memory, uint cid, VsockSockets sockets)
        : base(VirtioDeviceType.Socket, FeatureStream, memory, ConfigLength, QueueSize, QueueSize, QueueSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(cid, FirstGuestCid);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(cid, LastGuestCid);
        _cid = cid;
        _sockets = sockets;
        BinaryPrimitives.WriteUInt64LittleEndian(Config, cid);
        sockets.Attach(this);
    }

    private enum Turn
    {
        Done,
        More,
        Starved,
    }

    public VirtioVsockState Save() => new() { Device = SaveCommon(), Cid = _cid };

    /// <summary>The guest's connections are not restored: it is told that they are gone (5.10.6.7).</summary>
    public void Restore(VirtioVsockState state)
    {
        StateFormat.Require(state.Version == VirtioVsockState.CurrentVersion && state.Device is not null && state.Cid == _cid, "virtio socket device");
        RestoreCommon(state.Device!);
        lock (_gate)
        {
            _eventDue = true;
            SendEvent();
        }
    }

    /// <summary>A program of the host has connected; its socket belongs to the device from now on.</summary>
    internal void OnAccepted(int socket)
    {
        lock (_gate)
        {
            if (!IsRunning || !TryOpen(socket, VsockStage.Greeting, out _))
                _ = LinuxSockets.Close(socket);
        }
    }

    /// <summary>Something has happened to a socket; <see cref="Work"/> follows.</summary>
    internal void OnSocket(long id, uint events)
    {
        lock (_gate)
        {
            if (!_open.TryGetValue(id, out var connection))
                return;
            const uint over = LinuxSockets.HangUp | LinuxSockets.Error;
            connection.IsHungUp |= (events & over) != 0;
            connection.IsReadable |= (events & (LinuxSockets.In | LinuxSockets.ReadHangUp | over)) != 0;
            if ((events & (LinuxSockets.Out | over)) != 0)
                connection.Flush();
            switch (connection.Stage)
            {
                case VsockStage.Greeting:
                    Greet(connection);
                    break;
                case VsockStage.Requested when connection.IsHungUp:
                    Abort(connection);
                    break;
                case VsockStage.Flushing when connection.IsFlushed:
                    Drop(connection);
                    break;
                default:
                    Enqueue(connection);
                    break;
            }
        }
    }

    /// <summary>Gives the guest what is there for it, as far as it has buffers; on the sockets' thread.</summary>
    internal void Work()
    {
        bool more;
        do
        {
            lock (_gate)
            {
                Pump(PacketsAtOnce);
                if (CanResume)
                {
                    _stalled = false;
                    Drain(Queues[TransmitQueue]);
                }

                more = HasWork;
            }
        }
        while (more);
    }

    /// <inheritdoc/>
    protected override void OnNotify(Virtqueue queue)
    {
        bool more;
        lock (_gate)
        {
            switch (queue.Index)
            {
                case TransmitQueue:
                    Drain(queue);
                    break;
                case ReceiveQueue when _starved:
                    _starved = false;
                    break;
                case ReceiveQueue:
                    // New buffers matter only to who waits for them.
                    queue.DisableNotifications();
                    return;
                default:
                    SendEvent();
                    return;
            }

            // Short answers at once; data is the sockets' thread's business.
            Pump(dataPackets: 0);
            more = HasWork;
        }

        if (more)
            _sockets.Wake();
    }

    /// <inheritdoc/>
    protected override bool CanServe(Virtqueue queue)
    {
        _stalled = _resets.Count >= MaxResets;
        return !_stalled;
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        VsockHeader header = default;
        if (!chain.Readable.TryRead(MemoryMarshal.AsBytes(new Span<VsockHeader>(ref header))))
        {
            Break("a vsock packet has no header");
        }
        else if (header.Length > chain.Readable.Length)
        {
            Break("a vsock packet is shorter than it says");
        }
        else
        {
            chain.Readable.Truncate(header.Length);
            Take(header, ref chain.Readable);
        }

        queue.Push(chain, 0);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (_gate)
        {
            DropAll();
            _eventDue = false;
            _starved = false;
            _stalled = false;
        }
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
    }

    /// <inheritdoc/>
    protected override void OnDispose() => _sockets.Detach(this);

    /// <summary>The guest's packets had to wait, and there is room for answers to them again.</summary>
    private bool CanResume => _stalled && _resets.Count < MaxResets;

    private bool HasWork => CanResume || (!_starved && _ready.Count != 0);

    private bool TryOpen(int socket, VsockStage stage, out VsockConnection connection)
    {
        connection = new(++_lastId, socket, stage);
        if (_open.Count >= MaxConnections || !_sockets.Watch(socket, connection.Id))
            return false;
        _open.Add(connection.Id, connection);
        return true;
    }

    /// <summary>A packet of the guest.</summary>
    private void Take(in VsockHeader header, ref IoSegments data)
    {
        // Nobody else is on this transport.
        if (header.SourceCid != _cid)
            return;
        var isOurs = header.DestinationCid == HostCid && header.Type == VsockHeader.TypeStream;
        var connection = isOurs ? _connections.GetValueOrDefault((header.SourcePort, header.DestinationPort)) : null;
        if (header.Operation == VsockOperation.Rst)
        {
            if (connection is not null)
                Drop(connection);
        }
        else if (connection is not null)
        {
            Take(connection, header, ref data);
        }
        else if (!isOurs || header.Operation != VsockOperation.Request || !TryConnect(header))
        {
            Reset(header.SourcePort, header.DestinationPort, header.DestinationCid, header.Type);
        }
    }

    private void Take(VsockConnection connection, in VsockHeader header, ref IoSegments data)
    {
        connection.TakeCredit(header);
        switch (header.Operation)
        {
            case VsockOperation.Response when connection.Stage == VsockStage.Requested && (connection.Pending & VsockPending.Request) == 0:
                connection.Stage = VsockStage.Established;
                if (!connection.AnswerGreeting())
                    connection.NoteHostShutdown(VsockShutdown.Receive);
                break;
            case VsockOperation.Rw when connection.Stage is VsockStage.Established or VsockStage.Closing && connection.TryTake(ref data):
            case VsockOperation.CreditUpdate:
                break;
            case VsockOperation.CreditRequest:
                connection.Pending |= VsockPending.CreditUpdate;
                break;
            case VsockOperation.Shutdown when connection.Stage is VsockStage.Established or VsockStage.Closing:
                connection.GuestShutdown |= header.Flags & VsockShutdown.Both;
                if (connection.GuestShutdown == VsockShutdown.Both)
                {
                    End(connection);
                    return;
                }

                connection.PassShutdownOn();
                break;
            default:
                Abort(connection);
                return;
        }

        Enqueue(connection);
    }

    /// <summary>The guest connects to a port of the host.</summary>
    private bool TryConnect(in VsockHeader header)
    {
        if (!HasRoom())
            return false;
        var socket = _sockets.Connect(header.DestinationPort);
        if (socket < 0)
            return false;
        if (!TryOpen(socket, VsockStage.Established, out var connection))
        {
            _ = LinuxSockets.Close(socket);
            return false;
        }

        connection.GuestPort = header.SourcePort;
        connection.HostPort = header.DestinationPort;
        connection.TakeCredit(header);
        connection.Pending = VsockPending.Response;
        _connections.Add(connection.Key, connection);
        Enqueue(connection);
        return true;
    }

    /// <summary>A program of the host says to which port of the guest it wants to be connected.</summary>
    private void Greet(VsockConnection connection)
    {
        if (!connection.TryReadGreeting(out var port) || (port is not null && !HasRoom()))
        {
            Drop(connection);
            return;
        }

        if (port is null)
            return;
        connection.GuestPort = port.Value;
        do
        {
            connection.HostPort = _nextPort++;
            if (_nextPort == uint.MaxValue)
                _nextPort = FirstDynamicPort;
        }
        while (_connections.ContainsKey(connection.Key));

        connection.Stage = VsockStage.Requested;
        connection.Pending = VsockPending.Request;
        _connections.Add(connection.Key, connection);
        Enqueue(connection);
    }

    /// <summary>Room for one more connection that the guest knows of, made at the cost of one that is over if need be.</summary>
    private bool HasRoom()
    {
        if (_connections.Count < MaxConnections)
            return true;
        foreach (var connection in _connections.Values)
        {
            if (connection.Stage != VsockStage.Closing)
                continue;
            Abort(connection);
            return true;
        }

        return false;
    }

    /// <summary>The guest has closed its end: it may forget the connection; what it wrote goes on to the host.</summary>
    private void End(VsockConnection connection)
    {
        Reset(connection);
        connection.PassShutdownOn();
        if (connection.IsFlushed)
        {
            Drop(connection);
            return;
        }

        _connections.Remove(connection.Key);
        connection.Stage = VsockStage.Flushing;
    }

    /// <summary>Ends a connection that cannot go on; the guest is told if it knows of it.</summary>
    private void Abort(VsockConnection connection)
    {
        if ((connection.Pending & VsockPending.Request) == 0)
            Reset(connection);
        Drop(connection);
    }

    private void Drop(VsockConnection connection)
    {
        connection.CloseSocket();
        _open.Remove(connection.Id);
        if (connection.Stage is not (VsockStage.Greeting or VsockStage.Flushing or VsockStage.Gone))
            _connections.Remove(connection.Key);
        connection.Stage = VsockStage.Gone;
    }

    private void DropAll()
    {
        foreach (var connection in _open.Values)
        {
            connection.CloseSocket();
            connection.Stage = VsockStage.Gone;
        }

        foreach (var connection in _connections.Values)
            connection.Stage = VsockStage.Gone;
        _open.Clear();
        _connections.Clear();
        _ready.Clear();
        _resets.Clear();
    }

    private void Break(string why)
    {
        NeedReset(why);
        DropAll();
    }

    private void Reset(VsockConnection connection) =>
        Reset(connection.GuestPort, connection.HostPort, HostCid, VsockHeader.TypeStream);

    private void Reset(uint guestPort, uint hostPort, ulong hostCid, ushort type) => _resets.Enqueue(new VsockHeader
    {
        SourceCid = hostCid,
        DestinationCid = _cid,
        SourcePort = hostPort,
        DestinationPort = guestPort,
        Type = type,
        Operation = VsockOperation.Rst,
    });

    private void Enqueue(VsockConnection connection)
    {
        if (connection.IsQueued || connection.Stage == VsockStage.Gone)
            return;
        connection.IsQueued = true;
        _ready.Enqueue(connection);
    }

    /// <summary>Sends what waits for the guest, each connection in its turn, with so many packets of data at most.</summary>
    private void Pump(int dataPackets)
    {
        while (_resets.Count != 0 && TryTakeBuffer(out var chain))
            Send(chain, _resets.Dequeue());
        for (var turns = _resets.Count == 0 ? _ready.Count : 0; turns > 0; turns--)
        {
            // A driver that breaks the rules in between has lost them all.
            if (!_ready.TryDequeue(out var connection))
                break;
            connection.IsQueued = false;
            var turn = connection.Stage == VsockStage.Gone ? Turn.Done : Attend(connection, ref dataPackets);
            if (turn != Turn.Done)
                Enqueue(connection);
            if (turn == Turn.Starved)
                break;
        }

        Queues[ReceiveQueue].Signal();
    }

    private Turn Attend(VsockConnection connection, ref int dataPackets)
    {
        if (!TrySend(connection, VsockPending.Request, VsockOperation.Request)
            || !TrySend(connection, VsockPending.Response, VsockOperation.Response))
        {
            return Turn.Starved;
        }

        var limit = Math.Min(dataPackets, PacketsPerTurn);
        var sent = 0;
        while (sent < limit && connection.HasInput && connection.PeerCredit != 0)
        {
            if (!TrySendData(connection))
                return Turn.Starved;
            sent++;
        }

        dataPackets -= sent;
        if (connection.IsHungUp && connection.Stage == VsockStage.Established && !connection.HasInput)
            connection.NoteHostShutdown(VsockShutdown.Both);
        if (!TrySend(connection, VsockPending.CreditUpdate, VsockOperation.CreditUpdate)
            || !TrySend(connection, VsockPending.Shutdown, VsockOperation.Shutdown))
        {
            return Turn.Starved;
        }

        if (connection.HostShutdown == VsockShutdown.Both && connection.Stage == VsockStage.Established)
        {
            connection.CloseSocket();
            _open.Remove(connection.Id);
            connection.Stage = VsockStage.Closing;
        }

        if (!connection.HasInput)
            return Turn.Done;
        if (connection.PeerCredit != 0)
            return Turn.More;

        // Every packet of the guest brings news of its room; this one asks for it, once.
        if (connection.IsCreditAsked)
            return Turn.Done;
        connection.IsCreditAsked = true;
        connection.Pending |= VsockPending.CreditRequest;
        return TrySend(connection, VsockPending.CreditRequest, VsockOperation.CreditRequest) ? Turn.Done : Turn.Starved;
    }

    /// <summary>Sends a packet without data if the connection owes it; false if the guest has no buffer.</summary>
    private bool TrySend(VsockConnection connection, VsockPending kind, VsockOperation operation)
    {
        if ((connection.Pending & kind) == 0)
            return true;
        if (!TryTakeBuffer(out var chain))
            return false;
        connection.Pending &= ~kind;
        Send(chain, Compose(connection, operation, 0));
        return true;
    }

    /// <summary>Reads from the socket into a buffer of the guest; false if the guest has none.</summary>
    private bool TrySendData(VsockConnection connection)
    {
        if (!TryTakeBuffer(out var chain))
            return false;
        var queue = Queues[ReceiveQueue];
        if (!chain.Writable.TrySkip(VsockHeader.Size) || chain.Writable.Length == 0)
        {
            Break("a vsock receive buffer has no room for data");
            queue.Push(chain, 0);
            return false;
        }

        chain.Writable.Truncate(Math.Min(connection.PeerCredit, MaxData));
        var got = LinuxSockets.Receive(connection.Socket, chain.Writable.Span);
        if (got > 0)
        {
            var header = Compose(connection, VsockOperation.Rw, (uint)got);
            WriteHeader(chain, header);
            queue.Push(chain, VsockHeader.Size + (uint)got);
            connection.IsCreditAsked = false;
            return true;
        }

        queue.Unpop(chain);
        connection.IsReadable = false;
        if (got == LinuxSockets.TryAgain)
            return true;

        // A program that has closed its end is told of by the end of its data first, and by an event only later.
        connection.NoteHostShutdown(got < 0 || connection.IsHungUp || LinuxSockets.HasHungUp(connection.Socket) ? VsockShutdown.Both : VsockShutdown.Send);
        return true;
    }

    private VsockHeader Compose(VsockConnection connection, VsockOperation operation, uint length)
    {
        var header = new VsockHeader
        {
            SourceCid = HostCid,
            DestinationCid = _cid,
            Length = length,
            Type = VsockHeader.TypeStream,
            Operation = operation,
            Flags = operation == VsockOperation.Shutdown ? connection.HostShutdown : 0,
        };
        connection.Describe(ref header);
        return header;
    }

    private void Send(VirtqueueChain chain, in VsockHeader header)
    {
        if (chain.WritableCapacity < VsockHeader.Size)
        {
            Break("a vsock receive buffer has no room for a header");
            Queues[ReceiveQueue].Push(chain, 0);
            return;
        }

        WriteHeader(chain, header);
        Queues[ReceiveQueue].Push(chain, VsockHeader.Size);
    }

    /// <summary>To the writable part's beginning, whatever has been taken off it.</summary>
    private static void WriteHeader(VirtqueueChain chain, in VsockHeader header)
    {
        var bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header));
        foreach (ref readonly var segment in chain.WrittenSegments)
        {
            var part = (int)Math.Min((nuint)bytes.Length, segment.Length);
            unsafe
            {
                bytes[..part].CopyTo(new Span<byte>(segment.Address, part));
            }

            bytes = bytes[part..];
            if (bytes.IsEmpty)
                return;
        }
    }

    private bool TryTakeBuffer(out VirtqueueChain chain)
    {
        var queue = Queues[ReceiveQueue];
        while (!queue.TryPop(out chain))
        {
            if (queue.EnableNotifications())
                continue;
            _starved = true;
            return false;
        }

        return true;
    }

    /// <summary>Tells the guest that its connections are gone, once it has a buffer for it.</summary>
    private void SendEvent()
    {
        var queue = Queues[EventQueue];
        if (!_eventDue)
        {
            queue.DisableNotifications();
            return;
        }

        VirtqueueChain chain;
        while (!queue.TryPop(out chain))
        {
            if (!queue.EnableNotifications())
                return;
        }

        _eventDue = false;
        Span<byte> message = stackalloc byte[EventLength];
        BinaryPrimitives.WriteUInt32LittleEndian(message, EventTransportReset);
        if (!chain.Writable.TryWrite(message))
            Break("a vsock event buffer is too small");
        queue.Push(chain, EventLength);
        queue.Signal();
    }
}
