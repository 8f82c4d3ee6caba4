using System.Runtime.InteropServices;

namespace Vivarium.Share.Protocol;

// What the guest sends, field by field as in Linux's include/uapi/linux/fuse.h; all little-endian.

/// <summary>struct fuse_in_header.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct InHeader
{
    public uint Length;
    public FuseOpcode Opcode;
    public ulong Unique;
    public ulong Node;
    public uint User;
    public uint Group;
    public uint Process;
    public ushort ExtensionLength;
    public ushort Padding;
}

/// <summary>struct fuse_init_in, up to what every virtio-fs driver sends.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct InitIn
{
    public uint Major;
    public uint Minor;
    public uint MaxReadahead;
    public InitFlags Flags;
}

/// <summary>struct fuse_forget_one.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ForgetOne
{
    public ulong Node;
    public ulong Lookups;
}

/// <summary>struct fuse_batch_forget_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BatchForgetIn
{
    public uint Count;
    public uint Padding;
}

/// <summary>struct fuse_getattr_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct GetAttrIn
{
    /// <summary>FUSE_GETATTR_FH: <see cref="Handle"/> is valid.</summary>
    public const uint HasHandle = 1;

    public uint Flags;
    public uint Padding;
    public ulong Handle;
}

/// <summary>struct fuse_setattr_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SetAttrIn
{
    public AttributeMask Valid;
    public uint Padding;
    public ulong Handle;
    public ulong Size;
    public ulong LockOwner;
    public ulong AccessedSeconds;
    public ulong ModifiedSeconds;
    public ulong ChangedSeconds;
    public uint AccessedNanoseconds;
    public uint ModifiedNanoseconds;
    public uint ChangedNanoseconds;
    public uint Mode;
    public uint Unused4;
    public uint User;
    public uint Group;
    public uint Unused5;
}

/// <summary>FATTR_*: which fields of <see cref="SetAttrIn"/> are meant.</summary>
[Flags]
internal enum AttributeMask : uint
{
    Mode = 1 << 0,
    User = 1 << 1,
    Group = 1 << 2,
    Size = 1 << 3,
    Accessed = 1 << 4,
    Modified = 1 << 5,
    Handle = 1 << 6,
    AccessedNow = 1 << 7,
    ModifiedNow = 1 << 8,
}

/// <summary>struct fuse_mknod_in; a name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MkNodIn
{
    public uint Mode;
    public uint Device;
    public uint Mask;
    public uint Padding;
}

/// <summary>struct fuse_mkdir_in; a name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MkDirIn
{
    public uint Mode;
    public uint Mask;
}

/// <summary>struct fuse_rename2_in; the old and the new name follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Rename2In
{
    public ulong NewFolder;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_open_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct OpenIn
{
    public uint Flags;
    public uint OpenFlags;
}

/// <summary>struct fuse_create_in; a name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CreateIn
{
    public uint Flags;
    public uint Mode;
    public uint Mask;
    public uint OpenFlags;
}

/// <summary>struct fuse_release_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ReleaseIn
{
    public ulong Handle;
    public uint Flags;
    public uint ReleaseFlags;
    public ulong LockOwner;
}

/// <summary>struct fuse_flush_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FlushIn
{
    public ulong Handle;
    public uint Unused;
    public uint Padding;
    public ulong LockOwner;
}

/// <summary>struct fuse_read_in, and struct fuse_write_in, after which the data follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TransferIn
{
    public ulong Handle;
    public ulong Offset;
    public uint Size;
    public uint TransferFlags;
    public ulong LockOwner;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_fsync_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FSyncIn
{
    /// <summary>FUSE_FSYNC_FDATASYNC.</summary>
    public const uint DataOnly = 1;

    public ulong Handle;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_access_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct AccessIn
{
    public uint Mask;
    public uint Padding;
}

/// <summary>struct fuse_fallocate_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FAllocateIn
{
    public ulong Handle;
    public ulong Offset;
    public ulong Length;
    public uint Mode;
    public uint Padding;
}

/// <summary>struct fuse_lseek_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct LSeekIn
{
    public ulong Handle;
    public ulong Offset;
    public uint Whence;
    public uint Padding;
}

/// <summary>struct fuse_copy_file_range_in.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct CopyFileRangeIn
{
    public ulong FromHandle;
    public ulong FromOffset;
    public ulong ToNode;
    public ulong ToHandle;
    public ulong ToOffset;
    public ulong Length;
    public ulong Flags;
}
