using System.Runtime.InteropServices;

namespace Vivarium.Memory.Host;

/// <summary>The Linux calls that back guest RAM: memfd_create(2), ftruncate(2), fallocate(2), pwrite(2), statx(2), mmap(2), munmap(2).</summary>
internal static unsafe partial class LinuxMemory
{
    public const int ProtRead = 1;
    public const int ProtWrite = 2;
    public const int MapShared = 0x01;
    public const int MapNoReserve = 0x4000;
    public const uint MfdCloexec = 1;

    private const int KeepSize = 1;
    private const int PunchHole = 2;
    private const int Interrupted = 4;
    private const int EmptyPath = 0x1000;
    private const uint StatBlocks = 0x400;
    private const ulong BlockSize = 512;

    /// <summary>The front of struct statx, as far as it is read here; the whole has 256 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct FileStatus
    {
        [FieldOffset(48)]
        public ulong Blocks;
    }

    /// <summary>Takes pages out of a file, which keeps its length; false if the host will not.</summary>
    public static bool Discard(int fd, long offset, long length)
    {
        while (Fallocate(fd, KeepSize | PunchHole, offset, length) != 0)
        {
            if (Marshal.GetLastPInvokeError() != Interrupted)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>How much of a file the host holds, in bytes.</summary>
    public static ulong AllocatedBytes(int fd)
    {
        FileStatus status;
        return Statx(fd, "", EmptyPath, StatBlocks, &status) == 0 ? status.Blocks * BlockSize : 0;
    }

    /// <summary>False if not all was written.</summary>
    public static bool TryWrite(int fd, ReadOnlySpan<byte> data, long offset)
    {
        fixed (byte* bytes = data)
        {
            return Pwrite(fd, bytes, (nuint)data.Length, offset) == data.Length;
        }
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    public static partial int Ftruncate(int fd, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint Pwrite(int fd, void* data, nuint length, long offset);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    public static partial void* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    public static partial int Munmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int fd);
}
