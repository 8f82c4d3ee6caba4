using System.Runtime.InteropServices;

namespace Vivarium.Cli.Terminal.Host;

/// <summary>The calls that the console needs: read(2), write(2), poll(2), isatty(3), termios(3).</summary>
internal static unsafe partial class Posix
{
    public const int StandardInput = 0;
    public const int StandardOutput = 1;
    public const int StandardError = 2;
    public const int SetAttributesNow = 0;
    public const short PollIn = 1;
    public const short PollOut = 4;

    /// <summary>EINTR.</summary>
    public const int InterruptedCall = 4;

    /// <summary>EAGAIN.</summary>
    public const int TryAgain = 11;

    /// <summary>EPIPE: whoever read has gone.</summary>
    public const int BrokenPipe = 32;

    /// <summary>struct termios of Linux; only the kernel and libc look inside.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Termios
    {
        private fixed uint _words[15];
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct PollFd
    {
        public int Fd;
        public short Events;
        public short Revents;
    }

    private const nuint GetWindowSize = 0x5413;
    private const int UsualColumns = 80, UsualRows = 25;

    /// <summary>struct winsize of Linux (tty_ioctl(4)).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct WindowSize
    {
        public ushort Rows, Columns, Width, Height;
    }

    /// <summary>How many characters a terminal shows.</summary>
    public static (int Columns, int Rows) TerminalSize(int fd)
    {
        WindowSize size;
        return IoCtl(fd, GetWindowSize, &size) == 0 && size is { Columns: > 0, Rows: > 0 } ? (size.Columns, size.Rows) : (UsualColumns, UsualRows);
    }

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int IoCtl(int fd, nuint request, WindowSize* size);

    [LibraryImport("libc", EntryPoint = "isatty")]
    public static partial int IsATty(int fd);

    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    public static partial int TcGetAttr(int fd, Termios* termios);

    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    public static partial int TcSetAttr(int fd, int actions, Termios* termios);

    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    public static partial void CfMakeRaw(Termios* termios);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(int fd, byte* buffer, nint count);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(int fd, byte* buffer, nint count);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(PollFd* fds, uint count, int timeoutMilliseconds);
}
