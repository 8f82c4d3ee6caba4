using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Network.Host;

namespace Vivarium.Network;

/// <summary>
/// A TAP interface of the host: the guest's frames appear on it as they are, checksums and segmentation included, which
/// the host's kernel completes if need be. Addresses, routes and bridges are the host's business.
/// </summary>
public sealed class TapNetwork : INetworkBackend
{
    private static readonly int HeaderLength = Unsafe.SizeOf<FrameOffload>();

    /// <summary>After so many frames the guest is told of them, though more may wait.</summary>
    private const int BatchLimit = 128;

    private readonly Lock _sending = new();
    private readonly Lock _receiving = new();
    private readonly string _name;
    private readonly LinuxTap _tap;
    private readonly int _epoll;
    private readonly int _wake;
    private readonly byte[] _sent = GC.AllocateUninitializedArray<byte>(HeaderLength + Ethernet.MaximumFrame, pinned: true);
    private readonly byte[] _received = GC.AllocateUninitializedArray<byte>(HeaderLength + Ethernet.MaximumFrame, pinned: true);
    private volatile INetworkSink? _sink;
    private Thread? _thread;

    /// <summary>Length of a frame in <see cref="_received"/> that the guest had no buffers for; 0 for none.</summary>
    private int _waiting;
    private volatile bool _stopping;
    private bool _disposed;
    private long _dropped;

    /// <exception cref="NetworkException">There is no such TAP interface, or it cannot be used.</exception>
    public TapNetwork(string interfaceName)
    {
        ArgumentNullException.ThrowIfNull(interfaceName);
        _name = interfaceName;
        _tap = LinuxTap.Open(interfaceName);
        _epoll = LinuxPoll.CreateEpoll();
        _wake = LinuxPoll.CreateEvent();
        LinuxPoll.Watch(_epoll, _wake, LinuxPoll.PollIn, known: false);
        LinuxPoll.Watch(_epoll, _tap.Fd, LinuxPoll.PollIn, known: false);
    }

    public NetworkOffloads Offloads => NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    public NetworkOffloads ReceiveOffloads => NetworkOffloads.Checksum | NetworkOffloads.Tso4 | NetworkOffloads.Tso6;

    public int Mtu => 0;

    /// <summary>Told once, in a sentence, when the interface has gone and nothing will come from it any more.</summary>
    public Action<string>? Failed { get; set; }

    /// <summary>Frames of the guest that the host did not take.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    public void Attach(INetworkSink sink)
    {
        ArgumentNullException.ThrowIfNull(sink);
        lock (_receiving)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _sink = sink;
            if (_thread is not null)
                return;
            _thread = new(Run) { IsBackground = true, Name = $"network {_name}" };
            _thread.Start();
        }
    }

    public void SetReceiveOffloads(NetworkOffloads accepted)
    {
        lock (_sending)
        {
            if (!_stopping)
                _tap.SetOffloads(accepted);
        }
    }

    public void Send(ReadOnlySpan<FrameSegment> frame, in FrameOffload offload)
    {
        lock (_sending)
        {
            if (_stopping)
                return;
            var length = FrameSegment.Gather(frame, _sent.AsSpan(HeaderLength));
            MemoryMarshal.Write(_sent, in offload);
            if (length < Ethernet.HeaderLength || !_tap.TryWrite(_sent.AsSpan(0, HeaderLength + length)))
                Interlocked.Increment(ref _dropped);
        }
    }

    public void Flush()
    {
    }

    public void ReceiveReady()
    {
        lock (_receiving)
        {
            if (_waiting == 0 || !TryDeliver())
                return;
            LinuxPoll.Watch(_epoll, _tap.Fd, LinuxPoll.PollIn, known: true);
        }
        _sink?.Flush();
    }

    public void Dispose()
    {
        lock (_receiving)
        {
            if (_disposed)
                return;
            _disposed = true;
        }
        lock (_sending)
            _stopping = true;
        LinuxPoll.Signal(_wake);
        _thread?.Join();
        lock (_sending)
            _tap.Dispose();
        _ = LinuxPoll.Close(_epoll);
        _ = LinuxPoll.Close(_wake);
    }

    private void Run()
    {
        Span<LinuxPoll.EpollEvent> events = stackalloc LinuxPoll.EpollEvent[2];
        while (true)
        {
            _ = LinuxPoll.Wait(_epoll, events, timeout: -1);
            if (_stopping)
                return;
            bool gone;
            lock (_receiving)
                gone = !ReceiveBatch();
            _sink?.Flush();
            if (!gone)
                continue;
            Failed?.Invoke($"The TAP interface '{_name}' has gone; the guest receives nothing from it any more.");
            return;
        }
    }

    /// <summary>
    /// Gives the guest what has come. When it has no buffers the interface is not read any more: then it is the host's
    /// queue that overflows. False when the interface has gone.
    /// </summary>
    private bool ReceiveBatch()
    {
        for (var i = 0; i < BatchLimit && _waiting == 0; i++)
        {
            if (!_tap.TryRead(_received, out var length, out var gone))
                return !gone;
            if (length < HeaderLength + Ethernet.HeaderLength)
                continue;
            _waiting = length;
            if (!TryDeliver())
                LinuxPoll.Watch(_epoll, _tap.Fd, 0, known: true);
        }
        return true;
    }

    private bool TryDeliver()
    {
        var offload = MemoryMarshal.Read<FrameOffload>(_received);
        if (_sink is { } sink && !sink.TryReceive(_received.AsSpan(HeaderLength, _waiting - HeaderLength), offload))
            return false;
        _waiting = 0;
        return true;
    }
}
