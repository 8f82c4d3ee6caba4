using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// Opens what nobody but this user can have written: files and folders that belong to the user, that are no symbolic
/// links, and that others may not write.
/// </summary>
internal static unsafe class OwnFile
{
    public const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    public const UnixFileMode FolderMode = FileMode | UnixFileMode.UserExecute;

    private const uint OthersWrite = 0x12;  // 0022
    private const uint TypeMask = 0xF000;
    private const uint TypeFolder = 0x4000;
    private const uint TypeFile = 0x8000;

    /// <summary>A descriptor, or -1: not there (then nothing is refused), or <paramref name="refusal"/> says why not.</summary>
    public static int Open(string path, int flags, out LinuxHost.FileStatus status, out string? refusal)
    {
        refusal = null;
        status = default;
        int fd = LinuxHost.Open(path, flags | LinuxHost.OpenNoFollow | LinuxHost.OpenCloseOnExec, (uint)FileMode);
        if (fd < 0)
        {
            refusal = Marshal.GetLastPInvokeError() == LinuxHost.NoSuchFile ? null : $"cannot be opened ({Marshal.GetLastPInvokeErrorMessage()})";
            return -1;
        }

        LinuxHost.FileStatus found;
        refusal = LinuxHost.Fstat(fd, &found) != 0 ? $"cannot be looked at ({Marshal.GetLastPInvokeErrorMessage()})"
            : (found.Mode & TypeMask) != ((flags & LinuxHost.OpenDirectory) != 0 ? TypeFolder : TypeFile) ? "is of another kind"
            : found.User != LinuxHost.EffectiveUser() ? $"belongs to another user ({found.User})"
            : (found.Mode & OthersWrite) != 0 ? "can be written by other users"
            : null;
        status = found;
        if (refusal is not null)
        {
            _ = LinuxHost.Close(fd);
            return -1;
        }

        return fd;
    }

    /// <summary>Makes the folder, or checks the one that is there. Returns why it is not to be used; null if it is.</summary>
    public static string? EnsureFolder(string path)
    {
        try
        {
            _ = Directory.CreateDirectory(path, FolderMode);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"cannot be made ({e.Message.TrimEnd('.')})";
        }

        int fd = Open(path, LinuxHost.OpenReadOnly | LinuxHost.OpenDirectory, out _, out string? refusal);
        if (fd >= 0)
        {
            _ = LinuxHost.Close(fd);
        }

        return fd >= 0 ? null : refusal ?? "is not there";
    }
}
