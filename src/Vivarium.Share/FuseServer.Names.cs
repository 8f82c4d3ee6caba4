using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;

namespace Vivarium.Share;

/// <summary>Finding, making, moving and removing what has a name.</summary>
public sealed unsafe partial class FuseServer
{
    private int Lookup(ref Request asked, ref Answer reply)
    {
        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            return WriteEntry(folder.Descriptor, asked.Header.Node, name, ref reply);
        }
    }

    private int ReadLink(ref Request asked, ref Answer reply)
    {
        int error = _session.TryLease(asked.Header.Node, out Lease lease, out FileType type);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            if (type != FileType.SymbolicLink)
            {
                return Errno.Invalid;
            }

            byte nothing = 0;
            byte* target = stackalloc byte[Posix.PathMax];
            nint length = Posix.Readlinkat(lease.Descriptor, &nothing, target, Posix.PathMax);
            return length < 0 ? Posix.LastError : reply.TryWrite(new ReadOnlySpan<byte>(target, (int)length)) ? Errno.None : Errno.NameTooLong;
        }
    }

    private int Symlink(ref Request asked, ref Answer reply)
    {
        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            // The target is only text, for the guest to make sense of.
            if (!asked.TryReadText(out byte* target, out int length) || length >= Posix.PathMax)
            {
                return Errno.NameTooLong;
            }

            error = Result(Posix.Symlinkat(target, folder.Descriptor, name.Pointer));
            return error != Errno.None ? error : WriteEntry(folder.Descriptor, asked.Header.Node, name, ref reply);
        }
    }

    private int MkNod(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out MkNodIn arguments))
        {
            return Errno.Invalid;
        }

        // Devices would be this host's.
        uint type = arguments.Mode & (uint)FileType.Mask;
        if ((FileType)type is not (FileType.Regular or FileType.Fifo or FileType.Socket))
        {
            return Errno.Permission;
        }

        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            error = Result(Posix.Mknodat(folder.Descriptor, name.Pointer, type | SafeMode(arguments.Mode, isFolder: false), 0));
            return error != Errno.None ? error : WriteEntry(folder.Descriptor, asked.Header.Node, name, ref reply);
        }
    }

    private int MkDir(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out MkDirIn arguments))
        {
            return Errno.Invalid;
        }

        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            error = Result(Posix.Mkdirat(folder.Descriptor, name.Pointer, SafeMode(arguments.Mode, isFolder: true)));
            return error != Errno.None ? error : WriteEntry(folder.Descriptor, asked.Header.Node, name, ref reply);
        }
    }

    private int Remove(ref Request asked, int flags)
    {
        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            return Result(Posix.Unlinkat(folder.Descriptor, name.Pointer, flags));
        }
    }

    private int Rename(ref Request asked, bool hasFlags)
    {
        var arguments = default(Rename2In);
        if (!(hasFlags ? asked.TryRead(out arguments) : asked.TryRead(out arguments.NewFolder)))
        {
            return Errno.Invalid;
        }

        // RENAME_WHITEOUT, the third, would make a device.
        if ((arguments.Flags & ~(Posix.NoReplace | Posix.Exchange)) != 0)
        {
            return Errno.Invalid;
        }

        int error = TryTakeName(ref asked, out EntryName oldName, out Lease oldFolder);
        if (error != Errno.None)
        {
            return error;
        }

        using (oldFolder)
        {
            error = asked.TryReadName(out EntryName newName);
            if (error != Errno.None)
            {
                return error;
            }

            error = TryLeaseFolder(arguments.NewFolder, out Lease newFolder);
            if (error != Errno.None)
            {
                return error;
            }

            using (newFolder)
            {
                error = Result(Posix.Renameat2(oldFolder.Descriptor, oldName.Pointer, newFolder.Descriptor, newName.Pointer, arguments.Flags));
                if (error != Errno.None)
                {
                    return error;
                }

                NoteName(newFolder.Descriptor, arguments.NewFolder, newName);
                if ((arguments.Flags & Posix.Exchange) != 0)
                {
                    NoteName(oldFolder.Descriptor, asked.Header.Node, oldName);
                }

                return Errno.None;
            }
        }
    }

    private int Link(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out ulong existing))
        {
            return Errno.Invalid;
        }

        int error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            error = _session.TryLease(existing, out Lease lease, out FileType type);
            if (error != Errno.None)
            {
                return error;
            }

            using (lease)
            {
                if (type == FileType.Directory)
                {
                    return Errno.Permission;
                }

                // The link that is followed is /proc's, to the node itself; a symbolic link is not followed further.
                byte* self = stackalloc byte[DescriptorName.Length];
                DescriptorName.Write(lease.Descriptor, self);
                error = Result(Posix.Linkat((int)_descriptorFolder.DangerousGetHandle(), self, folder.Descriptor, name.Pointer, Posix.FollowLinks));
            }

            return error != Errno.None ? error : WriteEntry(folder.Descriptor, asked.Header.Node, name, ref reply);
        }
    }

    /// <summary>Takes a name in the folder that the header names.</summary>
    private int TryTakeName(ref Request asked, out EntryName name, out Lease folder)
    {
        folder = default;
        int error = asked.TryReadName(out name);
        return error != Errno.None ? error : TryLeaseFolder(asked.Header.Node, out folder);
    }

    private int TryLeaseFolder(ulong node, out Lease folder)
    {
        int error = _session.TryLease(node, out folder, out FileType type);
        if (error == Errno.None && type != FileType.Directory)
        {
            folder.Dispose();
            folder = default;
            return Errno.NotDirectory;
        }

        return error;
    }

    /// <summary>Looks a name up and tells the guest of what is there.</summary>
    private int WriteEntry(int folder, ulong folderNode, EntryName name, ref Answer reply)
    {
        if (reply.Room < sizeof(EntryOut))
        {
            return Errno.Invalid;
        }

        int error = TryEnter(folder, folderNode, name, out EntryOut entry);
        return error != Errno.None ? error : reply.TryWrite(entry) ? Errno.None : Errno.Invalid;
    }

    /// <summary>Looks a name up; the guest is to be told, for that has been counted.</summary>
    private int TryEnter(int folder, ulong folderNode, EntryName name, out EntryOut entry)
    {
        entry = default;
        int opened = Posix.OpenBeneath(folder, name.Pointer, Posix.PathOnly);
        if (opened < 0)
        {
            return Posix.LastError;
        }

        var descriptor = new SafeFileHandle(opened, ownsHandle: true);
        FileStatus status;
        if (Posix.Fstat(opened, &status) < 0)
        {
            int error = Posix.LastError;
            descriptor.Dispose();
            return error;
        }

        entry = new EntryOut { EntrySeconds = BeliefSeconds, AttributeSeconds = BeliefSeconds, Attributes = Describe(status) };
        return _session.Remember(descriptor, status, folderNode, name.Terminated, out entry.Node);
    }

    /// <summary>What has just been moved here will be found here from now on.</summary>
    private void NoteName(int folder, ulong folderNode, EntryName name)
    {
        int opened = Posix.OpenBeneath(folder, name.Pointer, Posix.PathOnly);
        if (opened < 0)
        {
            return;
        }

        FileStatus status;
        if (Posix.Fstat(opened, &status) == 0)
        {
            _session.Renamed(status, folderNode, name.Terminated);
        }

        _ = Posix.Close(opened);
    }
}
