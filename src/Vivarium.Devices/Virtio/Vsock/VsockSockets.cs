using System.Globalization;
using System.Text;
using Vivarium.Devices.Host;

namespace Vivarium.Devices;

/// <summary>
/// The host's end of a socket device: programs connect to the Unix socket at a path and say to which port of the guest; what
/// the guest connects to at port N of the host is the Unix socket at PATH_N. It outlives the machine's resets, which make new
/// devices. One thread waits for all sockets, and calls the device that is attached.
/// </summary>
public sealed class VsockSockets : IDisposable
{
    /// <summary>The longest path, in bytes: an underscore and the longest port number follow it.</summary>
    public const int LongestPath = LinuxSockets.LongestPath - 11;

    private const int Backlog = 128;
    private const int EventsAtOnce = 64;
    private const long ListenerToken = -1;
    private const long WakeToken = -2;

    /// <summary>How long nobody is accepted after the host had no descriptor left, in milliseconds.</summary>
    private const int DeafTime = 100;

    private readonly string _path;
    private readonly int _listener;
    private readonly int _epoll;
    private readonly int _wake;
    private readonly Thread _thread;
    private volatile VirtioVsock? _device;
    private volatile bool _stopping;
    private bool _deaf;

    private VsockSockets(string path, int listener, int epoll, int wake)
    {
        _path = path;
        _listener = listener;
        _epoll = epoll;
        _wake = wake;
        _ = LinuxSockets.Watch(epoll, wake, LinuxSockets.In, WakeToken);
        _ = LinuxSockets.Watch(epoll, listener, LinuxSockets.In, ListenerToken);
        _thread = new(Run) { IsBackground = true, Name = "vsock" };
        _thread.Start();
    }

    /// <summary>Makes the socket at a path, in place of one that a dead process has left.</summary>
    /// <exception cref="IOException">It cannot be made; the message is a sentence without a full stop.</exception>
    public static VsockSockets Open(string path)
    {
        if (path.Contains('\0', StringComparison.Ordinal))
            throw new IOException("the path of a vsock socket cannot contain a zero byte");
        if (Encoding.UTF8.GetByteCount(path) > LongestPath)
            throw new IOException($"the vsock path '{path}' is too long; it may have {LongestPath} bytes, so choose a shorter one, for example under /tmp");
        var listener = Listen(path);
        var epoll = LinuxSockets.CreateEpoll();
        var wake = LinuxSockets.CreateEvent();
        if (epoll >= 0 && wake >= 0)
            return new(path, listener, epoll, wake);
        _ = LinuxSockets.Close(listener);
        LinuxSockets.Remove(path);
        if (epoll >= 0)
            _ = LinuxSockets.Close(epoll);
        throw new IOException("the host has no file descriptor left for vsock; raise the limit with 'ulimit -n'");
    }

    /// <summary>The machine has ended: the socket goes, and its name.</summary>
    public void Dispose()
    {
        if (_stopping)
            return;
        _stopping = true;
        LinuxSockets.Signal(_wake);
        _thread.Join();
        LinuxSockets.Remove(_path);
        _ = LinuxSockets.Close(_listener);
        _ = LinuxSockets.Close(_epoll);
        _ = LinuxSockets.Close(_wake);
    }

    /// <summary>From now on this device gets the connections.</summary>
    internal void Attach(VirtioVsock device) => _device = device;

    internal void Detach(VirtioVsock device) => _ = Interlocked.CompareExchange(ref _device, null, device);

    /// <summary>A socket that is connected to who listens for a port of the host; negative if nobody does.</summary>
    internal int Connect(uint port) => LinuxSockets.Connect(string.Create(CultureInfo.InvariantCulture, $"{_path}_{port}"));

    /// <summary>Tells the device, under this token, whenever a socket becomes ready for more; false if the host will not.</summary>
    internal bool Watch(int socket, long token) => LinuxSockets.Watch(
        _epoll,
        socket,
        LinuxSockets.In | LinuxSockets.Out | LinuxSockets.ReadHangUp | LinuxSockets.EdgeTriggered,
        token);

    /// <summary>Has <see cref="VirtioVsock.Work"/> called soon.</summary>
    internal void Wake() => LinuxSockets.Signal(_wake);

    private static int Listen(string path)
    {
        var name = Path.GetFileName(path);
        var folder = Path.GetDirectoryName(path) is { Length: > 0 } named ? named : path.StartsWith('/') ? "/" : ".";
        if (name.Length == 0)
            throw new IOException($"the vsock path '{path}' names a folder; write the name of a socket to make in it");

        // Two processes may find the same dead socket; the second must not take the first one's.
        var folderLock = LinuxSockets.LockFolder(folder);
        try
        {
            if (folderLock is LinuxSockets.NoSuchEntry or LinuxSockets.NotFolder)
                throw new IOException($"there is no folder '{folder}' for the vsock path '{path}'; make it first, or choose another path");
            RemoveDead(path);
            var listener = LinuxSockets.Listen(path, Backlog);
            if (listener >= 0)
                return listener;
            throw new IOException($"cannot make the vsock socket '{path}': {LinuxSockets.Describe(listener)}; choose another path");
        }
        finally
        {
            if (folderLock >= 0)
                _ = LinuxSockets.Close(folderLock);
        }
    }

    private static void RemoveDead(string path)
    {
        switch (LinuxSockets.KindOf(path))
        {
            case LinuxSockets.PathKind.Other:
                throw new IOException($"'{path}' exists and is no socket; remove it, or choose another vsock path");
            case LinuxSockets.PathKind.Socket:
                var peer = LinuxSockets.Connect(path);
                if (peer == LinuxSockets.ConnectionRefused)
                {
                    LinuxSockets.Remove(path);
                    return;
                }

                if (peer >= 0)
                    _ = LinuxSockets.Close(peer);
                throw new IOException($"the vsock path '{path}' is in use by another process; choose another path");
        }
    }

    private void Run()
    {
        Span<LinuxSockets.Event> events = stackalloc LinuxSockets.Event[EventsAtOnce];
        while (true)
        {
            var count = LinuxSockets.Wait(_epoll, events, _deaf ? DeafTime : -1);
            if (_stopping)
                return;
            if (_deaf)
                _deaf = !LinuxSockets.Watch(_epoll, _listener, LinuxSockets.In, ListenerToken);
            var device = _device;
            for (var i = 0; i < count; i++)
            {
                switch (events[i].Token)
                {
                    case WakeToken:
                        LinuxSockets.Drain(_wake);

                        // What was drained may have been the end.
                        if (_stopping)
                            return;
                        break;
                    case ListenerToken:
                        Accept(device);
                        break;
                    default:
                        device?.OnSocket(events[i].Token, events[i].Events);
                        break;
                }
            }

            device?.Work();
        }
    }

    private void Accept(VirtioVsock? device)
    {
        while (true)
        {
            var socket = LinuxSockets.Accept(_listener);
            if (socket >= 0)
            {
                if (device is null)
                    _ = LinuxSockets.Close(socket);
                else
                    device.OnAccepted(socket);
                continue;
            }

            if (socket is LinuxSockets.TooManyFiles or LinuxSockets.TooManyFilesInSystem)
            {
                // Whoever waits goes on waiting; looking all the time would not help.
                LinuxSockets.Unwatch(_epoll, _listener);
                _deaf = true;
            }

            return;
        }
    }
}
