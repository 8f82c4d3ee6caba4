using System.Runtime.InteropServices;

namespace Vivarium.Share.Protocol;

// What the server answers, field by field as in Linux's include/uapi/linux/fuse.h; all little-endian.

/// <summary>struct fuse_out_header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OutHeader
{
    public uint Length;

    /// <summary>0, or an error number, negative.</summary>
    public int Error;

    public ulong Unique;
}

/// <summary>struct fuse_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Attributes
{
    public ulong Inode;
    public ulong Size;
    public ulong Blocks;
    public ulong AccessedSeconds;
    public ulong ModifiedSeconds;
    public ulong ChangedSeconds;
    public uint AccessedNanoseconds;
    public uint ModifiedNanoseconds;
    public uint ChangedNanoseconds;
    public uint Mode;
    public uint Links;
    public uint User;
    public uint Group;
    public uint SpecialDevice;
    public uint BlockSize;
    public uint Flags;
}

/// <summary>struct fuse_entry_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct EntryOut
{
    public ulong Node;
    public ulong Generation;
    public ulong EntrySeconds;
    public ulong AttributeSeconds;
    public uint EntryNanoseconds;
    public uint AttributeNanoseconds;
    public Attributes Attributes;
}

/// <summary>struct fuse_attr_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AttrOut
{
    public ulong Seconds;
    public uint Nanoseconds;
    public uint Padding;
    public Attributes Attributes;
}

/// <summary>struct fuse_init_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct InitOut
{
    public uint Major;
    public uint Minor;
    public uint MaxReadahead;
    public InitFlags Flags;
    public ushort MaxBackground;
    public ushort CongestionThreshold;
    public uint MaxWrite;

    /// <summary>The steps of times, in nanoseconds.</summary>
    public uint TimeGranularity;

    public ushort MaxPages;
    public ushort MapAlignment;
    public uint Flags2;
    public fixed uint Unused[7];
}

/// <summary>FUSE_* of FUSE_INIT, as far as this server agrees on them.</summary>
[Flags]
internal enum InitFlags : uint
{
    AsyncRead = 1 << 0,
    AtomicTruncate = 1 << 3,
    BigWrites = 1 << 5,
    AutoInvalidateData = 1 << 12,
    ReadDirPlus = 1 << 13,
    ReadDirPlusAuto = 1 << 14,
    AsyncDirectIo = 1 << 15,
    ParallelDirectoryOperations = 1 << 18,
    MaxPages = 1 << 22,
}

/// <summary>struct fuse_open_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OpenOut
{
    public ulong Handle;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_write_out.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct WriteOut
{
    public uint Size;
    public uint Padding;
}

/// <summary>struct fuse_statfs_out, which is a struct fuse_kstatfs.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct StatFsOut
{
    public ulong Blocks;
    public ulong FreeBlocks;
    public ulong AvailableBlocks;
    public ulong Files;
    public ulong FreeFiles;
    public uint BlockSize;
    public uint NameLength;
    public uint FragmentSize;
    public uint Padding;
    public fixed uint Spare[6];
}

/// <summary>struct fuse_dirent, without the name, which follows and is padded to 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DirectoryEntry
{
    public ulong Inode;
    public ulong Offset;
    public uint NameLength;
    public uint Type;
}
