using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vivarium.Storage.Host;

/// <summary>
/// The lock against double use, spoken so that QEMU's tools and this program refuse each other. QEMU marks what a process
/// does with an image by shared open-file-description locks on single bytes: byte 100 + p says "I use permission p", byte
/// 200 + p says "nobody else may use permission p". One takes one's own bytes first and then looks whether anybody holds the
/// opposite ones; since all locks are shared, looking asks whether an exclusive lock would be granted.
/// </summary>
internal static unsafe class ImageLock
{
    private const int UsesBase = 100;
    private const int ForbidsBase = 200;

    // QEMU's permissions, by their bit numbers.
    private const int ConsistentRead = 0;
    private const int Write = 1;
    private const int Resize = 3;

    /// <summary>Locks until the file is closed. False if somebody else's use forbids it.</summary>
    public static bool TryAcquire(SafeFileHandle file, bool exclusive)
    {
        ReadOnlySpan<int> uses = exclusive ? [ConsistentRead, Write, Resize] : [ConsistentRead];
        ReadOnlySpan<int> forbids = [Write, Resize];
        foreach (int permission in uses)
        {
            if (!TryMark(file, UsesBase + permission))
            {
                return TryFlock(file, exclusive);
            }
        }

        foreach (int permission in forbids)
        {
            if (!TryMark(file, ForbidsBase + permission))
            {
                return TryFlock(file, exclusive);
            }
        }

        foreach (int permission in uses)
        {
            if (IsMarkedByOthers(file, ForbidsBase + permission))
            {
                return false;
            }
        }

        foreach (int permission in forbids)
        {
            if (IsMarkedByOthers(file, UsesBase + permission))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>
    /// Unlocks at once. Closing the file is not enough: a process that is being started at this moment has a copy of it until
    /// it becomes another program.
    /// </summary>
    public static void Release(SafeFileHandle file)
    {
        var request = new Posix.FileLock { Type = Posix.Unlocked };
        _ = Posix.FcntlLock(file, Posix.OfdSetLock, &request);
        _ = Posix.Flock(file, Posix.FlockUnlock);
    }

    private static bool TryMark(SafeFileHandle file, long position)
    {
        Posix.FileLock request = At(position, Posix.ReadLock);
        return Posix.FcntlLock(file, Posix.OfdSetLock, &request) == 0;
    }

    private static bool IsMarkedByOthers(SafeFileHandle file, long position)
    {
        Posix.FileLock request = At(position, Posix.WriteLock);
        return Posix.FcntlLock(file, Posix.OfdGetLock, &request) == 0 && request.Type != Posix.Unlocked;
    }

    /// <summary>For file systems without byte locks: the whole-file lock, which QEMU does not see.</summary>
    private static bool TryFlock(SafeFileHandle file, bool exclusive)
    {
        int operation = (exclusive ? Posix.FlockExclusive : Posix.FlockShared) | Posix.FlockNonBlocking;
        return Posix.Flock(file, operation) == 0 || Marshal.GetLastPInvokeError() != Posix.ErrorAgain;
    }

    private static Posix.FileLock At(long position, short type) => new() { Type = type, Start = position, Length = 1 };
}
