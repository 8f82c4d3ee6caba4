using System.Runtime.InteropServices;

namespace Vivarium.Share.Host;

/// <summary>The Linux calls under a shared folder, with the constants of x86-64. Descriptors are plain numbers: whoever calls holds them open.</summary>
internal static unsafe partial class Posix
{
    public const int ReadOnly = 0;
    public const int WriteOnly = 1;
    public const int ReadWrite = 2;
    public const int AccessModeMask = 3;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int NoControllingTerminal = 0x100;
    public const int Truncate = 0x200;
    public const int Append = 0x400;
    public const int NonBlock = 0x800;
    public const int DataSync = 0x1000;
    public const int Directory = 0x10000;
    public const int NoFollow = 0x20000;
    public const int CloseOnExec = 0x80000;
    public const int Sync = 0x101000;
    public const int PathOnly = 0x200000;

    public const int CurrentFolder = -100;
    public const int RemoveDirectory = 0x200;
    public const int FollowLinks = 0x400;
    public const int EmptyPath = 0x1000;

    public const uint NoReplace = 1;
    public const uint Exchange = 2;

    public const int KeepSize = 1;
    public const int PunchHole = 2;
    public const int ZeroRange = 0x10;

    public const int SeekSet = 0;
    public const int SeekData = 3;
    public const int SeekHole = 4;

    /// <summary>preadv2(2): only what needs no waiting.</summary>
    public const int NoWait = 8;

    /// <summary>IOV_MAX: the most segments of one preadv or pwritev.</summary>
    public const int IovMax = 1024;

    /// <summary>NAME_MAX, without the NUL.</summary>
    public const int NameMax = 255;

    /// <summary>PATH_MAX, with the NUL.</summary>
    public const int PathMax = 4096;

    // openat2(2), resolve.
    private const ulong NoMagicLinks = 2;
    private const ulong NoSymlinks = 4;
    private const ulong Beneath = 8;

    private const nint Openat2Number = 437;

    /// <summary>What the last call of this thread failed with.</summary>
    public static int LastError => Marshal.GetLastPInvokeError();

    /// <summary>
    /// Opens what the folder has under a name, and nothing else: the host's kernel refuses names that lead elsewhere and
    /// follows no link. Negative on failure.
    /// </summary>
    public static int OpenBeneath(int folder, byte* name, int flags, uint mode = 0)
    {
        var how = new OpenHow
        {
            Flags = (uint)(flags | CloseOnExec | NoFollow),
            Mode = mode,
            Resolve = Beneath | NoSymlinks | NoMagicLinks,
        };
        int descriptor;
        do
        {
            descriptor = (int)Openat2(Openat2Number, folder, name, &how, (nuint)sizeof(OpenHow));
        }
        while (descriptor < 0 && LastError == Errno.Interrupted);
        return descriptor;
    }

    /// <summary>Opens once more what a descriptor stands for, through the folder /proc/self/fd. Negative on failure.</summary>
    public static int Reopen(int descriptors, int descriptor, int flags)
    {
        byte* name = stackalloc byte[DescriptorName.Length];
        DescriptorName.Write(descriptor, name);
        int opened;
        do
        {
            opened = Openat(descriptors, name, flags | CloseOnExec, 0);
        }
        while (opened < 0 && LastError == Errno.Interrupted);
        return opened;
    }

    public static string Describe(int error) => Marshal.GetPInvokeErrorMessage(error);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    public static partial int Openat(int folder, byte* name, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "dup", SetLastError = true)]
    public static partial int Duplicate(int descriptor);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "fstat", SetLastError = true)]
    public static partial int Fstat(int descriptor, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    public static partial int Fstatfs(int descriptor, FileSystemStatus* status);

    [LibraryImport("libc", EntryPoint = "faccessat", SetLastError = true)]
    public static partial int Faccessat(int folder, byte* name, int mode, int flags);

    [LibraryImport("libc", EntryPoint = "fchmod", SetLastError = true)]
    public static partial int Fchmod(int descriptor, uint mode);

    [LibraryImport("libc", EntryPoint = "fchmodat", SetLastError = true)]
    public static partial int Fchmodat(int folder, byte* name, uint mode, int flags);

    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true)]
    public static partial int Utimensat(int folder, byte* name, Timespec* times, int flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Ftruncate(int descriptor, long length);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true)]
    public static partial nint Readlinkat(int folder, byte* name, byte* buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true)]
    public static partial int Symlinkat(byte* target, int folder, byte* name);

    [LibraryImport("libc", EntryPoint = "mknodat", SetLastError = true)]
    public static partial int Mknodat(int folder, byte* name, uint mode, ulong device);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true)]
    public static partial int Mkdirat(int folder, byte* name, uint mode);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true)]
    public static partial int Unlinkat(int folder, byte* name, int flags);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true)]
    public static partial int Renameat2(int fromFolder, byte* from, int toFolder, byte* to, uint flags);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true)]
    public static partial int Linkat(int fromFolder, byte* from, int toFolder, byte* to, int flags);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    public static partial nint Preadv2(int descriptor, IoSegment* segments, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev", SetLastError = true)]
    public static partial nint Pwritev(int descriptor, IoSegment* segments, int count, long offset);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    public static partial int Fsync(int descriptor);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    public static partial int Fdatasync(int descriptor);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    public static partial int Syncfs(int descriptor);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    public static partial int Fallocate(int descriptor, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    public static partial long Lseek(int descriptor, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    public static partial nint CopyFileRange(int from, long* fromOffset, int to, long* toOffset, nuint length, uint flags);

    [LibraryImport("libc", EntryPoint = "getdents64", SetLastError = true)]
    public static partial nint Getdents64(int descriptor, byte* buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Openat2(nint number, nint folder, byte* name, OpenHow* how, nuint size);
}
