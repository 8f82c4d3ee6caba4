using System.Runtime.InteropServices;

namespace Vivarium.Cli.Machines.Host;

/// <summary>The calls that the registry of machines needs: open(2), flock(2), statx(2), setsid(2), dup2(2), execv(3), pidfds.</summary>
internal static unsafe partial class Linux
{
    public const int NoSuchEntry = 2;
    public const int NoSuchProcess = 3;
    public const int InterruptedCall = 4;
    public const int WouldBlock = 11;

    public const int OpenReadWrite = 2;
    public const int OpenWriteOnly = 1;
    public const int OpenCreate = 0x40;
    public const int OpenTruncate = 0x200;
    public const int OpenAppend = 0x400;
    public const int OpenDirectory = 0x1_0000;
    public const int OpenNoFollow = 0x2_0000;
    public const int OpenCloseOnExec = 0x8_0000;
    public const int OpenPath = 0x20_0000;

    public const int LockExclusive = 2;
    public const int LockNonBlocking = 4;

    public const int SignalKill = 9;
    public const int SignalPipe = 13;

    private const int AtCurrentFolder = -100;
    private const int AtSymlinkNoFollow = 0x100;
    private const uint StatBasic = 0x7FF;

    /// <summary>The front of struct statx (statx(2)), as far as it is read here; the whole has 256 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    public struct FileStatus
    {
        [FieldOffset(20)]
        public uint User;

        [FieldOffset(28)]
        public ushort Mode;
    }

    /// <summary>Status of a path itself, links not followed; false if there is nothing.</summary>
    public static bool TryGetStatus(string path, out FileStatus status)
    {
        status = default;
        fixed (FileStatus* result = &status)
        {
            return Statx(AtCurrentFolder, path, AtSymlinkNoFollow, StatBasic, result) == 0;
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "close")]
    public static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    public static partial int Flock(int fd, int operation);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUser();

    [LibraryImport("libc", EntryPoint = "setsid", SetLastError = true)]
    public static partial int NewSession();

    [LibraryImport("libc", EntryPoint = "dup2", SetLastError = true)]
    public static partial int Duplicate(int from, int to);

    [LibraryImport("libc", EntryPoint = "execv", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Execute(string program, nint* arguments);

    [LibraryImport("libc", EntryPoint = "signal")]
    public static partial nint SetSignalAction(int signal, nint action);

    [LibraryImport("libc", EntryPoint = "pidfd_open", SetLastError = true)]
    public static partial int OpenProcess(int process, uint flags);

    [LibraryImport("libc", EntryPoint = "pidfd_send_signal", SetLastError = true)]
    public static partial int SendSignal(int processFd, int signal, nint information, uint flags);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, FileStatus* status);
}
