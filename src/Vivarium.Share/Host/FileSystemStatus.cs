using System.Runtime.InteropServices;

namespace Vivarium.Share.Host;

/// <summary>struct statfs of statfs(2) on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileSystemStatus
{
    /// <summary>A number that tells the kind of file system.</summary>
    public long Magic;

    public long BlockSize;
    public ulong Blocks;
    public ulong FreeBlocks;
    public ulong AvailableBlocks;
    public ulong Files;
    public ulong FreeFiles;
    private readonly ulong _id;
    public long NameLength;
    public long FragmentSize;
    private unsafe fixed long _reserved[5];
}
