using System.Runtime.InteropServices;

namespace Vivarium.Cli.Machines.Host;

/// <summary>
/// An exclusive flock(2) on a file. The kernel drops it when its holder is gone, whatever killed it, so a lock that is
/// held means that a process lives.
/// </summary>
internal sealed class FileLock : IDisposable
{
    private const uint OwnerOnly = 0x180; // 0600

    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(5);

    private int _fd;

    private FileLock(int fd) => _fd = fd;

    /// <summary>Takes the lock, making the file where it is missing; null if another process (or another lock of this one) has it.</summary>
    /// <exception cref="IOException">The file cannot be opened or locked.</exception>
    public static FileLock? TryTake(string path)
    {
        int fd = Linux.Open(path, Linux.OpenReadWrite | Linux.OpenCreate | Linux.OpenNoFollow | Linux.OpenCloseOnExec, OwnerOnly);
        if (fd < 0)
        {
            throw new IOException($"cannot open {path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        while (Linux.Flock(fd, Linux.LockExclusive | Linux.LockNonBlocking) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error == Linux.InterruptedCall)
            {
                continue;
            }

            string reason = Marshal.GetLastPInvokeErrorMessage();
            _ = Linux.Close(fd);
            return error == Linux.WouldBlock ? null : throw new IOException($"cannot lock {path}: {reason}");
        }

        return new FileLock(fd);
    }

    /// <summary>Takes a lock that others hold for moments only; null if one of them does not let go in time.</summary>
    public static FileLock? Take(string path, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            if (TryTake(path) is { } taken)
            {
                return taken;
            }

            if (Environment.TickCount64 >= end)
            {
                return null;
            }

            Thread.Sleep(s_pause);
        }
    }

    public void Dispose()
    {
        int fd = Interlocked.Exchange(ref _fd, -1);
        if (fd >= 0)
        {
            _ = Linux.Close(fd);
        }
    }
}
