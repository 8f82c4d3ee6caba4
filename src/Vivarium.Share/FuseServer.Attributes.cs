using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;

namespace Vivarium.Share;

/// <summary>What is known of files without opening them.</summary>
public sealed unsafe partial class FuseServer
{
    /// <summary>
    /// How long the guest may believe a name or attributes without asking again, in seconds: as long as what the host changes
    /// stays unseen.
    /// </summary>
    private const ulong BeliefSeconds = 1;

    private const uint PermissionBits = 0x1FF;
    private const uint StickyBit = 0x200;
    private const uint SetGroupBit = 0x400;
    private const uint SetUserBit = 0x800;

    // access(2).
    private const uint MayWrite = 2;
    private const uint AccessBits = 7;

    private int GetAttr(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out GetAttrIn arguments))
        {
            return Errno.Invalid;
        }

        FileStatus status;
        int error = (arguments.Flags & GetAttrIn.HasHandle) != 0
            ? TryStatus(arguments.Handle, &status)
            : TryStatusOfNode(asked.Header.Node, &status);
        return error != Errno.None ? error : WriteAttributes(status, ref reply);
    }

    /// <summary>Owners stay as they are, silently: all files belong to whoever runs this process, as the documentation says.</summary>
    private int SetAttr(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out SetAttrIn arguments))
        {
            return Errno.Invalid;
        }

        int error = _session.TryLease(asked.Header.Node, out Lease lease, out FileType type);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            AttributeMask valid = arguments.Valid;
            if ((valid & AttributeMask.Mode) != 0)
            {
                error = ChangeMode(lease.Descriptor, type, arguments.Mode);
            }

            if (error == Errno.None && (valid & AttributeMask.Size) != 0)
            {
                error = ChangeSize(lease.Descriptor, type, arguments);
            }

            if (error == Errno.None && (valid & (AttributeMask.Accessed | AttributeMask.Modified)) != 0)
            {
                error = ChangeTimes(lease.Descriptor, arguments);
            }

            if (error != Errno.None)
            {
                return error;
            }

            FileStatus status;
            error = Result(Posix.Fstat(lease.Descriptor, &status));
            return error != Errno.None ? error : WriteAttributes(status, ref reply);
        }
    }

    private int Access(ref Request asked)
    {
        if (!asked.TryRead(out AccessIn arguments) || (arguments.Mask & ~AccessBits) != 0)
        {
            return Errno.Invalid;
        }

        int error = _session.TryLease(asked.Header.Node, out Lease lease, out FileType type);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            if (_isReadOnly && (arguments.Mask & MayWrite) != 0)
            {
                return Errno.ReadOnly;
            }

            byte* name = stackalloc byte[DescriptorName.Length];
            DescriptorName.Write(lease.Descriptor, name);
            return type == FileType.SymbolicLink
                ? Errno.None
                : Result(Posix.Faccessat((int)_descriptorFolder.DangerousGetHandle(), name, (int)arguments.Mask, 0));
        }
    }

    private int StatFs(ref Request asked, ref Answer reply)
    {
        int error = _session.TryLease(asked.Header.Node, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            FileSystemStatus status;
            error = Result(Posix.Fstatfs(lease.Descriptor, &status));
            var told = new StatFsOut
            {
                Blocks = status.Blocks,
                FreeBlocks = status.FreeBlocks,
                AvailableBlocks = status.AvailableBlocks,
                Files = status.Files,
                FreeFiles = status.FreeFiles,
                BlockSize = (uint)status.BlockSize,
                NameLength = Posix.NameMax,
                FragmentSize = (uint)status.FragmentSize,
            };
            return error != Errno.None ? error : reply.TryWrite(told) ? Errno.None : Errno.Invalid;
        }
    }

    private int TryStatusOfNode(ulong node, FileStatus* status)
    {
        int error = _session.TryLease(node, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            return Result(Posix.Fstat(lease.Descriptor, status));
        }
    }

    private int TryStatus(ulong handle, FileStatus* status)
    {
        int error = _session.TryLeaseFile(handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            return Result(Posix.Fstat(lease.Descriptor, status));
        }
    }

    /// <summary>Through /proc, because an O_PATH descriptor itself takes no mode; nothing is opened by that.</summary>
    private int ChangeMode(int descriptor, FileType type, uint mode)
    {
        if (type == FileType.SymbolicLink)
        {
            return Errno.NotSupported;
        }

        byte* name = stackalloc byte[DescriptorName.Length];
        DescriptorName.Write(descriptor, name);
        return Result(Posix.Fchmodat((int)_descriptorFolder.DangerousGetHandle(), name, SafeMode(mode, type == FileType.Directory), 0));
    }

    private int ChangeSize(int descriptor, FileType type, in SetAttrIn arguments)
    {
        if (type != FileType.Regular || arguments.Size > long.MaxValue)
        {
            return Errno.Invalid;
        }

        if ((arguments.Valid & AttributeMask.Handle) == 0)
        {
            int opened = OpenForWriting(descriptor, Posix.WriteOnly);
            if (opened < 0)
            {
                return Posix.LastError;
            }

            int result = Result(Posix.Ftruncate(opened, (long)arguments.Size));
            _ = Posix.Close(opened);
            return result;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            return Result(Posix.Ftruncate(lease.Descriptor, (long)arguments.Size));
        }
    }

    private static int ChangeTimes(int descriptor, in SetAttrIn arguments)
    {
        Timespec* times = stackalloc Timespec[2];
        times[0] = Time(arguments.Valid, AttributeMask.Accessed, AttributeMask.AccessedNow, arguments.AccessedSeconds, arguments.AccessedNanoseconds);
        times[1] = Time(arguments.Valid, AttributeMask.Modified, AttributeMask.ModifiedNow, arguments.ModifiedSeconds, arguments.ModifiedNanoseconds);
        byte nothing = 0;
        return Result(Posix.Utimensat(descriptor, &nothing, times, Posix.EmptyPath));
    }

    private static Timespec Time(AttributeMask valid, AttributeMask set, AttributeMask now, ulong seconds, uint nanoseconds) => new()
    {
        Seconds = (long)seconds,
        Nanoseconds = (valid & set) == 0 ? Timespec.Omit : (valid & now) != 0 ? Timespec.Now : nanoseconds,
    };

    /// <summary>
    /// What a guest may make of a mode. It may not give the rights of this process's user away to whoever runs a file on the
    /// host: bits that change the user or group of a running program are dropped.
    /// </summary>
    private static uint SafeMode(uint mode, bool isFolder) => mode & (PermissionBits | StickyBit | (isFolder ? SetGroupBit : 0));

    private static int WriteAttributes(in FileStatus status, ref Answer reply)
    {
        var told = new AttrOut { Seconds = BeliefSeconds, Attributes = Describe(status) };
        return reply.TryWrite(told) ? Errno.None : Errno.Invalid;
    }

    private static Attributes Describe(in FileStatus status) => new()
    {
        Inode = status.Inode,
        Size = (ulong)status.Size,
        Blocks = (ulong)status.Blocks,
        AccessedSeconds = (ulong)status.Accessed.Seconds,
        ModifiedSeconds = (ulong)status.Modified.Seconds,
        ChangedSeconds = (ulong)status.Changed.Seconds,
        AccessedNanoseconds = (uint)status.Accessed.Nanoseconds,
        ModifiedNanoseconds = (uint)status.Modified.Nanoseconds,
        ChangedNanoseconds = (uint)status.Changed.Nanoseconds,
        Mode = status.Mode,
        Links = (uint)Math.Min(status.Links, uint.MaxValue),
        User = status.User,
        Group = status.Group,
        SpecialDevice = KernelDevice(status.SpecialDevice),
        BlockSize = (uint)status.BlockSize,
    };

    /// <summary>A device number as the kernel packs it into 32 bits, from the 64 of the C library.</summary>
    private static uint KernelDevice(ulong device)
    {
        uint major = (uint)(device >> 8) & 0xFFF;
        uint minor = (uint)(device & 0xFF) | ((uint)(device >> 12) & 0xFFF00);
        return (minor & 0xFF) | (major << 8) | ((minor & ~0xFFu) << 12);
    }
}
