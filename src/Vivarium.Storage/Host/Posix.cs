using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vivarium.Storage.Host;

/// <summary>The Linux calls under disk images, with the constants of x86-64.</summary>
internal static unsafe partial class Posix
{
    public const int ReadOnly = 0;
    public const int ReadWrite = 2;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int NonBlock = 0x800;
    public const int CloseOnExec = 0x80000;
    public const int TemporaryFile = 0x410000;

    public const int KeepSize = 1;
    public const int PunchHole = 2;
    public const int ZeroRange = 0x10;

    public const int CurrentFolder = -100;
    public const int FollowLinks = 0x400;

    public const int SeekEnd = 2;
    public const int SeekData = 3;
    public const int SeekHole = 4;

    public const int OfdGetLock = 36;
    public const int OfdSetLock = 37;
    public const short ReadLock = 0;
    public const short WriteLock = 1;
    public const short Unlocked = 2;

    public const int FlockShared = 1;
    public const int FlockExclusive = 2;
    public const int FlockNonBlocking = 4;
    public const int FlockUnlock = 8;

    public const int ErrorNoEntry = 2;
    public const int ErrorInterrupted = 4;
    public const int ErrorNoDevice = 6;
    public const int ErrorAgain = 11;
    public const int ErrorAccess = 13;
    public const int ErrorExists = 17;
    public const int ErrorNotDirectory = 20;
    public const int ErrorIsDirectory = 21;
    public const int ErrorInvalid = 22;
    public const int ErrorReadOnlyFileSystem = 30;
    public const int ErrorPermission = 1;
    public const int ErrorNotSupported = 95;

    public const uint FileTypeMask = 0xF000;
    public const uint FileTypeRegular = 0x8000;
    public const uint FileTypeBlock = 0x6000;
    public const uint FileTypeDirectory = 0x4000;

    /// <summary>IOV_MAX: the most segments of one preadv or pwritev.</summary>
    public const int IovMax = 1024;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "preadv", SetLastError = true)]
    public static partial nint Preadv(SafeFileHandle file, IoSegment* segments, int count, long offset);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    public static partial nint Pwritev(SafeFileHandle file, IoSegment* segments, int count, long offset);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    public static partial int Fdatasync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    public static partial int Fsync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Ftruncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    public static partial int Fallocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Lseek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    public static partial int FcntlLock(SafeFileHandle file, int command, FileLock* fileLock);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    public static partial int Flock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "fstat", SetLastError = true)]
    public static partial int Fstat(SafeFileHandle file, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Linkat(int fromFolder, string from, int toFolder, string to, int flags);

    /// <summary>struct flock of fcntl(2).</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct FileLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Process;
    }

    /// <summary>struct stat of stat(2), as far as it is used.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 144)]
    public struct FileStatus
    {
        [FieldOffset(0)]
        public ulong Device;

        [FieldOffset(8)]
        public ulong Inode;

        [FieldOffset(24)]
        public uint Mode;

        [FieldOffset(48)]
        public long Size;

        /// <summary>Space taken, in units of 512 bytes.</summary>
        [FieldOffset(64)]
        public long Blocks;
    }
}
