using System.Runtime.InteropServices;

namespace Vivarium.Network.Host;

/// <summary>The Linux calls for waiting: epoll(7), eventfd(2), poll(2).</summary>
internal static unsafe partial class LinuxPoll
{
    public const short PollIn = 1;
    public const short PollPriority = 2;
    public const short PollOut = 4;
    public const short PollError = 8;
    public const short PollHangUp = 16;

    private const int EpollCloexec = 0x80000;
    private const int EventFdCloexec = 0x80000;
    private const int EventFdNonBlocking = 0x800;
    private const int ControlAdd = 1;
    private const int ControlDelete = 2;
    private const int ControlModify = 3;
    private const int NoEntry = 2;
    private const int Exists = 17;

    /// <summary>struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct PollFd
    {
        public int Fd;
        public short Events;
        public short Returned;
    }

    /// <summary>struct epoll_event, which is packed on x86-64.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    public struct EpollEvent
    {
        public uint Events;
        public int Fd;
        private readonly int _unused;
    }

    /// <exception cref="NetworkException">The host is out of descriptors.</exception>
    public static int CreateEpoll() => Checked(EpollCreate1(EpollCloexec));

    /// <exception cref="NetworkException">The host is out of descriptors.</exception>
    public static int CreateEvent() => Checked(EventFd(0, EventFdCloexec | EventFdNonBlocking));

    public static void Signal(int eventFd)
    {
        ulong one = 1;
        _ = Write(eventFd, &one, sizeof(ulong));
    }

    public static void Drain(int eventFd)
    {
        ulong count;
        _ = Read(eventFd, &count, sizeof(ulong));
    }

    /// <summary>Waits for these events (the values of poll(2) are also epoll's); nothing for zero.</summary>
    public static void Watch(int epoll, int fd, short events, bool known)
    {
        var wanted = new EpollEvent { Events = (ushort)events, Fd = fd };
        if (events == 0)
        {
            _ = EpollCtl(epoll, ControlDelete, fd, &wanted);
            return;
        }
        if (EpollCtl(epoll, known ? ControlModify : ControlAdd, fd, &wanted) == 0)
            return;

        // The descriptor was closed and its number used again, or the other way round.
        var error = Marshal.GetLastPInvokeError();
        if (error == NoEntry)
            _ = EpollCtl(epoll, ControlAdd, fd, &wanted);
        else if (error == Exists)
            _ = EpollCtl(epoll, ControlModify, fd, &wanted);
    }

    /// <summary>Waits at most so many milliseconds, -1 for ever; says how many events there are, negative after a signal.</summary>
    public static int Wait(int epoll, Span<EpollEvent> events, int timeout)
    {
        fixed (EpollEvent* first = events)
            return EpollWait(epoll, first, events.Length, timeout);
    }

    /// <summary>Fills in what the descriptors are ready for now.</summary>
    public static bool PollNow(Span<PollFd> descriptors)
    {
        fixed (PollFd* first = descriptors)
            return Poll(first, (nuint)descriptors.Length, 0) >= 0;
    }

    [LibraryImport("libc", EntryPoint = "close")]
    public static partial int Close(int fd);

    private static int Checked(int fd) => fd >= 0
        ? fd
        : throw new NetworkException("The host has no file descriptor left for the network; raise the limit with 'ulimit -n'.");

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int EpollCreate1(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int EpollCtl(int epoll, int operation, int fd, EpollEvent* wanted);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int EpollWait(int epoll, EpollEvent* events, int capacity, int timeout);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int Poll(PollFd* descriptors, nuint count, int timeout);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int fd, void* buffer, nuint length);
}
