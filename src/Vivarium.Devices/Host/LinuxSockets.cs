using System.Runtime.InteropServices;
using System.Text;

namespace Vivarium.Devices.Host;

/// <summary>
/// Unix stream sockets that never block, and waiting for many of them: unix(7), sendmsg(2), readv(2), epoll(7),
/// eventfd(2). What fails returns a negative error number.
/// </summary>
internal static unsafe partial class LinuxSockets
{
    public const int NoSuchEntry = -2;
    public const int TryAgain = -11;
    public const int PermissionDenied = -13;
    public const int NotFolder = -20;
    public const int TooManyFilesInSystem = -23;
    public const int TooManyFiles = -24;
    public const int ReadOnlyFileSystem = -30;
    public const int AddressInUse = -98;
    public const int ConnectionRefused = -111;

    public const uint In = 1;
    public const uint Out = 4;
    public const uint Error = 8;
    public const uint HangUp = 0x10;
    public const uint ReadHangUp = 0x2000;
    public const uint EdgeTriggered = 1u << 31;

    /// <summary>The longest path that an address holds, in bytes.</summary>
    public const int LongestPath = 107;

    private const int Interrupted = -4;
    private const int UnixFamily = 1;
    private const int Stream = 1;
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;
    private const int Peek = 2;
    private const int DoNotWait = 0x40;
    private const int NoSignal = 0x4000;
    private const int ShutRead = 0;
    private const int ShutWrite = 1;
    private const int ControlAdd = 1;
    private const int ControlDelete = 2;
    private const int Folder = 0x10000;
    private const int LockExclusive = 2;
    private const int CurrentFolder = -100;
    private const int NoFollow = 0x100;
    private const uint StatType = 1;
    private const int TypeMask = 0xF000;
    private const int TypeSocket = 0xC000;

    /// <summary>struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int Descriptor;
        public short Requested;
        public short Returned;
    }

    /// <summary>struct epoll_event, which is packed on x86-64.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 1)]
    public struct Event
    {
        public uint Events;
        public long Token;
    }

    /// <summary>struct sockaddr_un.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Address
    {
        public ushort Family;
        public fixed byte Path[LongestPath + 1];
    }

    /// <summary>struct msghdr.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Message
    {
        public void* Name;
        public uint NameLength;
        public IoSegment* Segments;
        public nuint SegmentCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }

    /// <summary>The front of struct statx, as far as it is read here; the whole has 256 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct FileStatus
    {
        [FieldOffset(28)]
        public ushort Mode;
    }

    public enum PathKind
    {
        Nothing,
        Socket,
        Other,
    }

    /// <summary>A socket that listens at a path where there is nothing yet.</summary>
    public static int Listen(string path, int backlog)
    {
        var fd = Create();
        if (fd < 0)
            return fd;
        var address = ToAddress(path);
        if (Bind(fd, &address, (uint)sizeof(Address)) == 0 && Listen(fd, backlog) == 0)
            return fd;
        var error = LastError();
        _ = Close(fd);
        return error;
    }

    /// <summary>A connection to whoever listens at a path.</summary>
    public static int Connect(string path)
    {
        var fd = Create();
        if (fd < 0)
            return fd;
        var address = ToAddress(path);

        // Of a Unix socket that does not block, connect(2) succeeds or fails at once.
        if (Connect(fd, &address, (uint)sizeof(Address)) == 0)
            return fd;
        var error = LastError();
        _ = Close(fd);
        return error;
    }

    public static int Accept(int listener)
    {
        var fd = Accept4(listener, null, null, NonBlocking | CloseOnExec);
        return fd >= 0 ? fd : LastError();
    }

    /// <summary>How many bytes were sent, of what may be guest memory.</summary>
    public static int Send(int fd, ReadOnlySpan<IoSegment> data)
    {
        fixed (IoSegment* first = data)
        {
            var message = new Message { Segments = first, SegmentCount = (nuint)data.Length };
            nint sent;
            do
                sent = SendMessage(fd, &message, DoNotWait | NoSignal);
            while (sent < 0 && LastError() == Interrupted);
            return sent >= 0 ? (int)sent : LastError();
        }
    }

    /// <summary>How many bytes were sent.</summary>
    public static int Send(int fd, ReadOnlySpan<byte> data)
    {
        fixed (byte* first = data)
        {
            var segment = new IoSegment(first, (nuint)data.Length);
            return Send(fd, new ReadOnlySpan<IoSegment>(ref segment));
        }
    }

    /// <summary>How many bytes have come; 0 when none will any more.</summary>
    public static int Receive(int fd, ReadOnlySpan<IoSegment> room)
    {
        fixed (IoSegment* first = room)
        {
            nint got;
            do
                got = ReadVector(fd, first, room.Length);
            while (got < 0 && LastError() == Interrupted);
            return got >= 0 ? (int)got : LastError();
        }
    }

    /// <summary>How many bytes have come; with <paramref name="peek"/> they stay.</summary>
    public static int Receive(int fd, Span<byte> room, bool peek)
    {
        fixed (byte* first = room)
        {
            nint got;
            do
                got = ReceiveBytes(fd, first, (nuint)room.Length, DoNotWait | (peek ? Peek : 0));
            while (got < 0 && LastError() == Interrupted);
            return got >= 0 ? (int)got : LastError();
        }
    }

    /// <summary>The peer may send no more.</summary>
    public static void StopReceiving(int fd) => _ = Shutdown(fd, ShutRead);

    /// <summary>The peer is told that nothing more comes.</summary>
    public static void StopSending(int fd) => _ = Shutdown(fd, ShutWrite);

    /// <summary>What stands at a path, links not followed: nothing, a socket, or something else.</summary>
    public static PathKind KindOf(string path)
    {
        FileStatus status;
        if (Statx(CurrentFolder, path, NoFollow, StatType, &status) != 0)
            return LastError() is NoSuchEntry or NotFolder ? PathKind.Nothing : PathKind.Other;
        return (status.Mode & TypeMask) == TypeSocket ? PathKind.Socket : PathKind.Other;
    }

    /// <summary>Removes a name; no error if there is none.</summary>
    public static void Remove(string path) => _ = Unlink(path);

    /// <summary>
    /// Opens a folder and locks it against others who do the same; closing it lets go. Where that cannot be, the result is
    /// negative.
    /// </summary>
    public static int LockFolder(string path)
    {
        var fd = Open(path, Folder | CloseOnExec);
        if (fd < 0)
            return LastError();
        _ = FileLock(fd, LockExclusive);
        return fd;
    }

    public static int CreateEpoll() => Checked(EpollCreate(CloseOnExec));

    public static int CreateEvent() => Checked(EventFd(0, CloseOnExec | NonBlocking));

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

    /// <summary>From now on events of this descriptor are told under this token; false if the host will not.</summary>
    public static bool Watch(int epoll, int fd, uint events, long token)
    {
        var wanted = new Event { Events = events, Token = token };
        return EpollControl(epoll, ControlAdd, fd, &wanted) == 0;
    }

    /// <summary>Whether nothing goes either way any more, as <see cref="HangUp"/> would tell.</summary>
    public static bool HasHungUp(int socket)
    {
        PollDescriptor descriptor = new() { Descriptor = socket };
        return Poll(&descriptor, 1, 0) > 0 && (descriptor.Returned & (HangUp | Error)) != 0;
    }

    public static void Unwatch(int epoll, int fd)
    {
        Event ignored;
        _ = EpollControl(epoll, ControlDelete, fd, &ignored);
    }

    /// <summary>Waits at most so many milliseconds, -1 for ever; says how many events there are, negative after a signal.</summary>
    public static int Wait(int epoll, Span<Event> events, int timeout)
    {
        fixed (Event* first = events)
            return EpollWait(epoll, first, events.Length, timeout);
    }

    [LibraryImport("libc", EntryPoint = "close")]
    public static partial int Close(int fd);

    /// <summary>The words for a negative error number.</summary>
    public static string Describe(int error) => Marshal.GetPInvokeErrorMessage(-error);

    private static int Create() => Checked(Socket(UnixFamily, Stream | NonBlocking | CloseOnExec, 0));

    private static int Checked(int result) => result >= 0 ? result : LastError();

    private static int LastError() => -Marshal.GetLastPInvokeError();

    private static Address ToAddress(string path)
    {
        var address = new Address { Family = UnixFamily };
        _ = Encoding.UTF8.GetBytes(path, new Span<byte>(address.Path, LongestPath));
        return address;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static partial int Bind(int fd, Address* address, uint length);

    [LibraryImport("libc", EntryPoint = "listen", SetLastError = true)]
    private static partial int Listen(int fd, int backlog);

    [LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static partial int Connect(int fd, Address* address, uint length);

    [LibraryImport("libc", EntryPoint = "accept4", SetLastError = true)]
    private static partial int Accept4(int fd, void* address, uint* length, int flags);

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    private static partial nint SendMessage(int fd, Message* message, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    private static partial nint ReceiveBytes(int fd, byte* buffer, nuint length, int flags);

    [LibraryImport("libc", EntryPoint = "readv", SetLastError = true)]
    private static partial nint ReadVector(int fd, IoSegment* segments, int count);

    [LibraryImport("libc", EntryPoint = "shutdown", SetLastError = true)]
    private static partial int Shutdown(int fd, int how);

    [LibraryImport("libc", EntryPoint = "unlink", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unlink(string path);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FileLock(int fd, int operation);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(PollDescriptor* descriptors, nuint count, int timeout);

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial int EpollCreate(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static partial int EpollControl(int epoll, int operation, int fd, Event* wanted);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static partial int EpollWait(int epoll, Event* events, int capacity, int timeout);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int EventFd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(int fd, void* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(int fd, void* buffer, nuint length);
}
