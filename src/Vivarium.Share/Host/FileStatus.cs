using System.Runtime.InteropServices;

namespace Vivarium.Share.Host;

/// <summary>struct stat of stat(2) on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileStatus
{
    public ulong Device;
    public ulong Inode;
    public ulong Links;
    public uint Mode;
    public uint User;
    public uint Group;
    private readonly uint _padding;
    public ulong SpecialDevice;
    public long Size;
    public long BlockSize;

    /// <summary>In units of 512 bytes.</summary>
    public long Blocks;

    public Timespec Accessed;
    public Timespec Modified;
    public Timespec Changed;
    private unsafe fixed long _reserved[3];

    public readonly FileType Type => (FileType)(Mode & (uint)FileType.Mask);
}
