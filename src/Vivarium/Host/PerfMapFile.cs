using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vivarium.Host;

/// <summary>Makes a file in a folder where anybody may make files: never one that somebody else has put there.</summary>
internal static partial class PerfMapFile
{
    private const int WriteOnly = 1, CreateNew = 0x40, Exclusive = 0x80, NoFollow = 0x20000, CloseOnExec = 0x80000;
    private const int OwnerOnly = 0x180; // 0600
    private const int FileExists = 17; // EEXIST

    /// <summary>A new file that only its owner can read and write. One that a former process of ours has left goes.</summary>
    /// <exception cref="VivariumException">It cannot be made.</exception>
    public static SafeFileHandle Create(string path)
    {
        int file = Open(path);
        if (file < 0 && Marshal.GetLastPInvokeError() == FileExists)
        {
            // In a sticky folder only its owner can take a file away; were it somebody else's, the next attempt fails.
            _ = Unlink(path);
            file = Open(path);
        }

        return file >= 0
            ? new SafeFileHandle(file, ownsHandle: true)
            : throw new VivariumException($"cannot make the map for perf, {path}: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    private static int Open(string path) => OpenFile(path, WriteOnly | CreateNew | Exclusive | NoFollow | CloseOnExec, OwnerOnly);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "unlink", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Unlink(string path);
}
