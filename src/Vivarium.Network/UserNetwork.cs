using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Network.Host;

namespace Vivarium.Network;

/// <summary>
/// A network in user mode through libslirp: DHCP, DNS, TCP, UDP and ICMP echo from sockets of this process, no privileges.
/// The guest finds a router at 10.0.2.2 (fec0::2), which is also this host, a name server at 10.0.2.3 (fec0::3), and gets
/// 10.0.2.15.
/// </summary>
/// <remarks>
/// libslirp is not thread-safe: <see cref="_lock"/> guards all of it. Frames of the guest go in on the vCPU's thread, where
/// the answer often comes out at once. One thread waits for the sockets; what it waits for lies in an epoll set that the
/// vCPU's thread can change without waking it.
/// </remarks>
public sealed unsafe class UserNetwork : INetworkBackend
{
    public const int DefaultMtu = 1500;

    private const int MinimumMtu = 1280;

    /// <summary>How many bytes of frames wait for a guest without buffers: several full TCP windows.</summary>
    private const int BacklogBytes = 1 << 20;

    private const int ForwardAttempts = 16;
    private const int AddressInUse = 98;
    private const int AddressNotAvailable = 99;
    private const int PermissionDenied = 13;
    private const long NanosecondsPerMillisecond = 1_000_000;

    /// <summary>libslirp computes every checksum.</summary>
    private static readonly FrameOffload Verified = new() { Flags = FrameOffload.DataValid };

    private readonly Lock _lock = new();
    private readonly Slirp _slirp = Slirp.Load();
    private readonly SlirpCallbacks* _callbacks;
    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(Ethernet.MaximumFrame, pinned: true);
    private readonly byte[] _piece = new byte[Ethernet.MaximumFrame];
    private readonly FrameQueue _backlog = new(BacklogBytes);
    private readonly Dictionary<int, Watch> _watched = [];
    private readonly List<SlirpTimer?> _timers = [];
    private readonly ResolverRedirection? _redirection;
    private readonly LargeReceive _largeReceive;
    private readonly FragmentReassembly _reassembly = new();
    private readonly int _epoll;
    private readonly int _wake;
    private GCHandle _self;
    private nint _instance;
    private LinuxPoll.PollFd[] _polled = new LinuxPoll.PollFd[64];
    private int _polledCount;
    private volatile INetworkSink? _sink;
    private Thread? _thread;
    private long _sleepsUntil = long.MaxValue;
    private long _round;
    private bool _serviceDue;
    private bool _stopping;
    private bool _disposed;
    private long _malformed;
    private long _overrun;

    /// <exception cref="NetworkException">libslirp is absent, or a forward cannot be had.</exception>
    public UserNetwork(UserNetworkOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Mtu is < MinimumMtu or > Slirp.MaximumMtu)
            throw new NetworkException($"A user network cannot have an MTU of {options.Mtu}; use one from {MinimumMtu} to {Slirp.MaximumMtu}.");
        Mtu = options.Mtu;
        _largeReceive = new(Mtu);
        if (options.Resolver is { } resolver)
            _redirection = new(resolver);
        _epoll = LinuxPoll.CreateEpoll();
        _wake = LinuxPoll.CreateEvent();
        LinuxPoll.Watch(_epoll, _wake, LinuxPoll.PollIn, known: false);
        _self = GCHandle.Alloc(this);
        _callbacks = (SlirpCallbacks*)NativeMemory.AllocZeroed((nuint)sizeof(SlirpCallbacks));
        try
        {
            CreateInstance(options.HostName);
            foreach (var forward in options.Forwards)
                AddForward(forward);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public NetworkOffloads Offloads => NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    public NetworkOffloads ReceiveOffloads => NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    public int Mtu { get; }

    public UserNetworkCounters Counters => new(Interlocked.Read(ref _malformed), Interlocked.Read(ref _overrun));

    public void Attach(INetworkSink sink)
    {
        ArgumentNullException.ThrowIfNull(sink);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _sink = sink;
            if (_thread is not null)
                return;
            _thread = new(Run) { IsBackground = true, Name = "user network" };
            _thread.Start();
        }
    }

    public void SetReceiveOffloads(NetworkOffloads accepted)
    {
        lock (_lock)
            _largeReceive.Accepted = accepted;
    }

    public void Send(ReadOnlySpan<FrameSegment> frame, in FrameOffload offload)
    {
        lock (_lock)
        {
            if (_instance == 0)
                return;
            var length = FrameSegment.Gather(frame, _frame);
            if (length < Ethernet.HeaderLength || !ChecksumCompletion.Complete(_frame.AsSpan(0, length), offload))
            {
                Interlocked.Increment(ref _malformed);
                return;
            }
            var headers = FrameHeaders.Parse(_frame.AsSpan(0, length));
            if (headers is { Kind: FrameKind.IPv4, IsFragment: true })
            {
                length = _reassembly.Add(_frame.AsSpan(0, length), headers, _frame);
                if (length == 0)
                    return;
            }
            _redirection?.FromGuest(_frame.AsSpan(0, length));
            _largeReceive.FromGuest(_frame.AsSpan(0, length));
            fixed (byte* first = _frame)
                _slirp.Input(_instance, first, length);

            // What waited for the guest's address goes out when libslirp next looks at its sockets.
            _serviceDue |= AnswersNeighbours(_frame.AsSpan(0, length), headers);
        }
    }

    public void Flush()
    {
        lock (_lock)
            Settle();
        _sink?.Flush();
    }

    public void ReceiveReady()
    {
        lock (_lock)
        {
            if (_backlog.IsEmpty)
                return;
            while (!_backlog.IsEmpty && _sink!.TryReceive(_backlog.Peek(out var offload), offload))
                _backlog.Dequeue();
            Settle();
        }
        _sink!.Flush();
    }

    /// <summary>Opens a port of the host, and says which when any was asked for.</summary>
    /// <exception cref="NetworkException">The port is in use, or not allowed to this user.</exception>
    public PortForward AddForward(PortForward forward)
    {
        ArgumentNullException.ThrowIfNull(forward);
        if (forward.Address.AddressFamily != AddressFamily.InterNetwork)
            throw new NetworkException($"The forward {forward} listens on an IPv6 address, which forwards cannot; use an IPv4 address of this host.");
        for (var attempt = 1; ; attempt++)
        {
            var tried = forward.HostPort != 0 ? forward : forward with { HostPort = FreePort(forward) };
            var error = TryAddForward(tried);
            if (error == 0)
                return tried;
            if (forward.HostPort == 0 && error == AddressInUse && attempt < ForwardAttempts)
                continue;
            throw new NetworkException(Explain(tried, error));
        }
    }

    /// <summary>Closes a port that was opened; false when there is none. Connections stay.</summary>
    public bool RemoveForward(PortForward forward)
    {
        ArgumentNullException.ThrowIfNull(forward);
        lock (_lock)
        {
            if (_instance == 0)
                return false;
            var removed = _slirp.RemoveHostForward(_instance, forward.Udp ? 1 : 0, ToWire(forward.Address), forward.HostPort) == 0;
            Settle();
            return removed;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
                return;
            _disposed = true;
            _stopping = true;
        }
        LinuxPoll.Signal(_wake);
        _thread?.Join();
        lock (_lock)
        {
            _sink = null;
            if (_instance != 0)
                _slirp.Cleanup(_instance);
            _instance = 0;
            NativeMemory.Free(_callbacks);
            _self.Free();
        }
        _ = LinuxPoll.Close(_epoll);
        _ = LinuxPoll.Close(_wake);
    }

    private void CreateInstance(string? hostName)
    {
        _callbacks->SendPacket = &OnSendPacket;
        _callbacks->GuestError = &OnGuestError;
        _callbacks->ClockGetNs = &OnClockGetNs;
        _callbacks->TimerNew = &OnTimerNew;
        _callbacks->TimerFree = &OnTimerFree;
        _callbacks->TimerMod = &OnTimerMod;
        _callbacks->RegisterPollFd = &OnPollFdChanged;
        _callbacks->UnregisterPollFd = &OnPollFdChanged;
        _callbacks->Notify = &OnNotify;
        fixed (byte* name = hostName is null ? null : Encoding.UTF8.GetBytes(hostName + "\0"))
        {
            var config = new SlirpConfig
            {
                Version = SlirpConfig.SupportedVersion,
                InEnabled = 1,
                Network = ToWire(UserNetworkAddresses.Network),
                NetMask = ToWire(UserNetworkAddresses.NetMask),
                Host = ToWire(UserNetworkAddresses.Router),
                DhcpStart = ToWire(UserNetworkAddresses.Guest),
                NameServer = ToWire(UserNetworkAddresses.NameServer),
                In6Enabled = 1,
                Prefix6 = In6Address.From(UserNetworkAddresses.Prefix6),
                PrefixLength6 = UserNetworkAddresses.PrefixLength6,
                Host6 = In6Address.From(UserNetworkAddresses.Router6),
                NameServer6 = In6Address.From(UserNetworkAddresses.NameServer6),
                HostName = name,

                // As large as can be: the guest's own MTU bounds what it sends, and its MSS what it is sent.
                InterfaceMtu = Slirp.MaximumMtu,
                InterfaceMru = Slirp.MaximumMtu,
            };
            lock (_lock)
                _instance = _slirp.New(&config, _callbacks, GCHandle.ToIntPtr(_self));
        }
        if (_instance == 0)
            throw new NetworkException($"libslirp refused its configuration; install version 4.1 or later of the package '{Slirp.PackageName}'.");
    }

    private int TryAddForward(PortForward forward)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Marshal.SetLastSystemError(0);
            if (_slirp.AddHostForward(_instance, forward.Udp ? 1 : 0, ToWire(forward.Address), forward.HostPort, 0, forward.GuestPort) == 0)
            {
                Settle();
                return 0;
            }
            return Marshal.GetLastSystemError() is var error and not 0 ? error : -1;
        }
    }

    private static int FreePort(PortForward forward)
    {
        try
        {
            using var socket = forward.Udp
                ? new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp)
                : new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(forward.Address, 0));
            return ((IPEndPoint)socket.LocalEndPoint!).Port;
        }
        catch (SocketException error)
        {
            throw new NetworkException(Explain(forward, error.SocketErrorCode == SocketError.AddressNotAvailable ? AddressNotAvailable : -1));
        }
    }

    private static string Explain(PortForward forward, int error)
    {
        var what = $"{(forward.Udp ? "UDP port" : "Port")} {forward.HostPort} on {forward.Address}";
        return error switch
        {
            AddressInUse => $"{what} is already in use; forward another port of the host to the guest's port {forward.GuestPort}.",
            AddressNotAvailable => $"{forward.Address} is no address of this host; forward from one that it has, for instance 127.0.0.1.",
            PermissionDenied => $"{what} is reserved for root; forward a port from 1024 on to the guest's port {forward.GuestPort}.",
            _ => $"{what} cannot be forwarded to the guest's port {forward.GuestPort} (error {error} of the host); forward another port.",
        };
    }

    private void Run()
    {
        Span<LinuxPoll.EpollEvent> events = stackalloc LinuxPoll.EpollEvent[16];
        while (true)
        {
            int timeout;
            lock (_lock)
            {
                if (_stopping)
                    return;
                var deadline = Settle();
                _sleepsUntil = deadline;
                timeout = deadline == long.MaxValue ? -1 : (int)Math.Clamp(deadline - Now(), 0, int.MaxValue);
            }
            var count = LinuxPoll.Wait(_epoll, events, timeout);
            lock (_lock)
            {
                _sleepsUntil = long.MinValue;
                if (_stopping)
                    return;
                for (var i = 0; i < count; i++)
                {
                    if (events[i].Fd == _wake)
                        LinuxPoll.Drain(_wake);
                }
                _serviceDue = false;
                ServeSockets();
                ServeTimers();
            }
            _sink?.Flush();
        }
    }

    /// <summary>
    /// Lets libslirp look at its sockets, and at its clock. While frames wait for the guest nothing is read: then the other
    /// ends have to wait as well, and nothing piles up.
    /// </summary>
    private void ServeSockets()
    {
        Fill();
        var skip = !_backlog.IsEmpty || !LinuxPoll.PollNow(_polled.AsSpan(0, _polledCount));
        _slirp.PollfdsPoll(_instance, skip ? 1 : 0, &OnGetREvents, GCHandle.ToIntPtr(_self));
    }

    private void ServeTimers()
    {
        var now = Now();
        for (var i = 0; i < _timers.Count; i++)
        {
            if (_timers[i] is not { } timer || timer.Deadline > now)
                continue;
            timer.Deadline = long.MaxValue;
            timer.Callback(timer.Argument);
        }
    }

    /// <summary>
    /// Brings the epoll set up to what libslirp waits for now, and says until when, in ms of <see cref="Now"/>. Wakes the
    /// thread only if it would sleep too long.
    /// </summary>
    private long Settle()
    {
        if (_instance == 0)
            return long.MaxValue;
        var timeout = Fill();
        if (!_backlog.IsEmpty)
            _polledCount = 0;
        _round++;
        foreach (ref readonly var wanted in _polled.AsSpan(0, _polledCount))
        {
            ref var known = ref CollectionsMarshal.GetValueRefOrAddDefault(_watched, wanted.Fd, out var exists);
            if (known.Events != wanted.Events)
                LinuxPoll.Watch(_epoll, wanted.Fd, wanted.Events, exists);
            known = new(wanted.Events, _round);
        }
        if (_watched.Count > _polledCount)
        {
            foreach (var (fd, known) in _watched)
            {
                if (known.Round == _round)
                    continue;
                LinuxPoll.Watch(_epoll, fd, 0, known: true);
                _watched.Remove(fd);
            }
        }

        var deadline = timeout == uint.MaxValue ? long.MaxValue : Now() + timeout;
        foreach (var timer in _timers)
        {
            if (timer is not null)
                deadline = Math.Min(deadline, timer.Deadline);
        }
        if (_serviceDue)
            deadline = Now();
        if (deadline < _sleepsUntil)
        {
            LinuxPoll.Signal(_wake);
            _sleepsUntil = deadline;
        }
        return deadline;
    }

    private uint Fill()
    {
        _polledCount = 0;
        var timeout = uint.MaxValue;
        _slirp.PollfdsFill(_instance, &timeout, &OnAddPoll, GCHandle.ToIntPtr(_self));
        return timeout;
    }

    private void Deliver(Span<byte> frame)
    {
        _redirection?.ToGuest(frame);
        var offload = Verified;
        if (!_largeReceive.IsLarge(frame, out var headers, out var payloadOffset, out var segmentSize)
            || _largeReceive.TryDeclare(frame, headers, payloadOffset, segmentSize, ref offload))
        {
            Deliver(frame, offload);
            return;
        }
        var count = TcpSegmentation.Count(headers.End - payloadOffset, segmentSize);
        for (var i = 0; i < count; i++)
            Deliver(_piece.AsSpan(0, TcpSegmentation.Write(frame, headers, payloadOffset, segmentSize, i, _piece)), offload);
    }

    private void Deliver(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        if (_sink is null || (_backlog.IsEmpty && _sink.TryReceive(frame, offload)))
            return;
        if (!_backlog.TryEnqueue(frame, offload))
            Interlocked.Increment(ref _overrun);
    }

    private static bool AnswersNeighbours(ReadOnlySpan<byte> frame, in FrameHeaders headers)
    {
        const byte NeighborAdvertisement = 136;
        return headers.Kind == FrameKind.Arp
            || (headers is { Kind: FrameKind.IPv6, Protocol: IpProtocol.IcmpV6 } && headers.End > headers.TransportOffset
                && frame[headers.TransportOffset] == NeighborAdvertisement);
    }

    private static long Now() => Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1000);

    private static uint ToWire(IPAddress address)
    {
        uint value = 0;
        address.TryWriteBytes(new Span<byte>(&value, sizeof(uint)), out _);
        return value;
    }

    private static UserNetwork Of(nint opaque) => (UserNetwork)GCHandle.FromIntPtr(opaque).Target!;

    /// <summary>
    /// What libslirp calls back most is nothing but a call: where a collection suspended the thread in a longer body, the thread was
    /// now and then left in the wrong GC mode on return to libslirp, and the next callback ended the process.
    /// </summary>
    [UnmanagedCallersOnly]
    private static nint OnSendPacket(byte* frame, nuint length, nint opaque) => TakePacket(frame, length, opaque);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint TakePacket(byte* frame, nuint length, nint opaque)
    {
        Of(opaque).Deliver(new Span<byte>(frame, (int)length));
        return (nint)length;
    }

    /// <summary>A guest can cause as many of these as it likes: they are not shown.</summary>
    [UnmanagedCallersOnly]
    private static void OnGuestError(byte* message, nint opaque)
    {
    }

    [UnmanagedCallersOnly]
    private static long OnClockGetNs(nint opaque) => Now() * NanosecondsPerMillisecond;

    [UnmanagedCallersOnly]
    private static nint OnTimerNew(delegate* unmanaged<nint, void> callback, nint argument, nint opaque)
    {
        var timers = Of(opaque)._timers;
        timers.Add(new(callback, argument));
        return timers.Count;
    }

    [UnmanagedCallersOnly]
    private static void OnTimerFree(nint timer, nint opaque) => Of(opaque)._timers[(int)timer - 1] = null;

    [UnmanagedCallersOnly]
    private static void OnTimerMod(nint timer, long deadline, nint opaque)
    {
        if (Of(opaque)._timers[(int)timer - 1] is { } found)
            found.Deadline = deadline;
    }

    /// <summary>A descriptor's number may stand for another socket now; epoll forgot the old one when it was closed.</summary>
    [UnmanagedCallersOnly]
    private static void OnPollFdChanged(int fd, nint opaque) => Of(opaque)._watched.Remove(fd);

    /// <summary>What changed is seen when the call into libslirp is over.</summary>
    [UnmanagedCallersOnly]
    private static void OnNotify(nint opaque)
    {
    }

    [UnmanagedCallersOnly]
    private static int OnAddPoll(int fd, int events, nint opaque)
    {
        var network = Of(opaque);
        if (network._polledCount == network._polled.Length)
            Array.Resize(ref network._polled, 2 * network._polled.Length);
        network._polled[network._polledCount] = new() { Fd = fd, Events = ToPoll(events) };
        return network._polledCount++;
    }

    [UnmanagedCallersOnly]
    private static int OnGetREvents(int index, nint opaque)
    {
        var network = Of(opaque);
        return (uint)index < (uint)network._polledCount ? FromPoll(network._polled[index].Returned) : 0;
    }

    private static short ToPoll(int events) => (short)(
        ((events & Slirp.PollIn) != 0 ? LinuxPoll.PollIn : 0)
        | ((events & Slirp.PollOut) != 0 ? LinuxPoll.PollOut : 0)
        | ((events & Slirp.PollPriority) != 0 ? LinuxPoll.PollPriority : 0)
        | ((events & Slirp.PollError) != 0 ? LinuxPoll.PollError : 0)
        | ((events & Slirp.PollHangUp) != 0 ? LinuxPoll.PollHangUp : 0));

    private static int FromPoll(short events) =>
        ((events & LinuxPoll.PollIn) != 0 ? Slirp.PollIn : 0)
        | ((events & LinuxPoll.PollOut) != 0 ? Slirp.PollOut : 0)
        | ((events & LinuxPoll.PollPriority) != 0 ? Slirp.PollPriority : 0)
        | ((events & LinuxPoll.PollError) != 0 ? Slirp.PollError : 0)
        | ((events & LinuxPoll.PollHangUp) != 0 ? Slirp.PollHangUp : 0);

    /// <summary>What epoll watches a descriptor for, and when libslirp last asked for it.</summary>
    private readonly record struct Watch(short Events, long Round);

    /// <summary>A timer of libslirp.</summary>
    private sealed class SlirpTimer(delegate* unmanaged<nint, void> callback, nint argument)
    {
        public readonly delegate* unmanaged<nint, void> Callback = callback;
        public readonly nint Argument = argument;

        /// <summary>When it fires, in ms of <see cref="Now"/>.</summary>
        public long Deadline = long.MaxValue;
    }
}
