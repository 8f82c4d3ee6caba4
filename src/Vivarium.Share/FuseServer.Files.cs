using System.Runtime.CompilerServices;
using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;

namespace Vivarium.Share;

/// <summary>Open files and what is in them.</summary>
public sealed unsafe partial class FuseServer
{
    /// <summary>What the guest may say about an open file. O_DIRECT is its own affair: its pages are not aligned for the host.</summary>
    private const int FileFlags = Posix.AccessModeMask | Posix.Append | Posix.Sync | Posix.DataSync;

    /// <summary>The most that one request copies, in bytes, so that it ends; the guest asks for the rest.</summary>
    private const ulong MostCopied = 16 << 20;

    private bool _cannotTellWaiting;

    private int Open(ref Request asked, ref Answer reply, bool isFolder)
    {
        if (!asked.TryRead(out OpenIn arguments) || reply.Room < sizeof(OpenOut))
        {
            return Errno.Invalid;
        }

        int error = isFolder ? Errno.None : CheckFlags(arguments.Flags);
        if (error != Errno.None)
        {
            return error;
        }

        error = _session.TryLease(asked.Header.Node, out Lease lease, out FileType type);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            error = TryOpen(lease.Descriptor, type, arguments.Flags, isFolder, out SafeFileHandle descriptor);
            if (error != Errno.None)
            {
                return error;
            }

            error = _session.Open(asked.Header.Node, descriptor, isFolder, out ulong handle);
            return error != Errno.None ? error : reply.TryWrite(new OpenOut { Handle = handle }) ? Errno.None : Errno.Invalid;
        }
    }

    private int Create(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out CreateIn arguments) || reply.Room < sizeof(EntryOut) + sizeof(OpenOut))
        {
            return Errno.Invalid;
        }

        int error = CheckFlags(arguments.Flags);
        if (error != Errno.None)
        {
            return error;
        }

        error = TryTakeName(ref asked, out EntryName name, out Lease folder);
        if (error != Errno.None)
        {
            return error;
        }

        using (folder)
        {
            // Only a file that is new by this call is opened by its name: what was there before may be a device.
            int flags = HostFlags(arguments.Flags);
            int opened = Posix.OpenBeneath(folder.Descriptor, name.Pointer, flags | Posix.Create | Posix.Exclusive, SafeMode(arguments.Mode, isFolder: false));
            if (opened < 0 && (Posix.LastError != Errno.Exists || (arguments.Flags & Posix.Exclusive) != 0))
            {
                return Posix.LastError;
            }

            SafeFileHandle? descriptor = opened < 0 ? null : new SafeFileHandle(opened, ownsHandle: true);
            error = TryEnter(folder.Descriptor, asked.Header.Node, name, out EntryOut entry);
            if (error != Errno.None)
            {
                descriptor?.Dispose();
                return error;
            }

            error = descriptor is null ? TryOpenNode(entry.Node, arguments.Flags, out descriptor) : Errno.None;
            ulong handle = 0;
            if (error == Errno.None)
            {
                error = _session.Open(entry.Node, descriptor!, isFolder: false, out handle);
            }

            if (error != Errno.None)
            {
                _session.Forget(entry.Node, 1);
                return error;
            }

            return reply.TryWrite(entry) && reply.TryWrite(new OpenOut { Handle = handle }) ? Errno.None : Errno.Invalid;
        }
    }

    private int Release(ref Request asked, bool isFolder) =>
        asked.TryRead(out ReleaseIn arguments) ? _session.Close(arguments.Handle, isFolder) : Errno.Invalid;

    /// <summary>Some file systems tell of failed writes only when a descriptor is closed, so one is.</summary>
    private int Flush(ref Request asked)
    {
        if (!asked.TryRead(out FlushIn arguments))
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            int copy = Posix.Duplicate(lease.Descriptor);
            return Result(copy < 0 ? copy : Posix.Close(copy));
        }
    }

    [SkipLocalsInit]
    private int Read(ref Request asked, ref Answer reply, bool mayWait)
    {
        if (!asked.TryRead(out TransferIn arguments) || arguments.Offset > long.MaxValue - (ulong)arguments.Size)
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            Span<IoSegment> window = stackalloc IoSegment[Posix.IovMax];
            int segments = reply.Data(arguments.Size, window);
            nint done;
            fixed (IoSegment* first = window)
            {
                int flags = mayWait || _cannotTellWaiting ? 0 : Posix.NoWait;
                do
                {
                    done = Posix.Preadv2(lease.Descriptor, first, segments, (long)arguments.Offset, flags);
                    if (done < 0 && Posix.LastError == Errno.NotSupported && flags != 0)
                    {
                        _cannotTellWaiting = true;
                        flags = 0;
                        done = Posix.Preadv2(lease.Descriptor, first, segments, (long)arguments.Offset, flags);
                    }
                }
                while (done < 0 && Posix.LastError == Errno.Interrupted);

                if (flags != 0 && done < IoSegment.Sum(window[..segments]) && !IsAtEnd(lease.Descriptor, done, arguments.Offset))
                {
                    return WouldWait;
                }
            }

            if (done < 0)
            {
                return Posix.LastError;
            }

            reply.Advance(done);
            return Errno.None;
        }
    }

    [SkipLocalsInit]
    private int Write(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out TransferIn arguments) || arguments.Offset > long.MaxValue - (ulong)arguments.Size || reply.Room < sizeof(WriteOut))
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            Span<IoSegment> window = stackalloc IoSegment[Posix.IovMax];
            int segments = asked.Data(arguments.Size, window);
            if (segments < 0)
            {
                return Errno.Invalid;
            }

            nint done;
            fixed (IoSegment* first = window)
            {
                do
                {
                    done = Posix.Pwritev(lease.Descriptor, first, segments, (long)arguments.Offset);
                }
                while (done < 0 && Posix.LastError == Errno.Interrupted);
            }

            return done < 0 ? Posix.LastError : reply.TryWrite(new WriteOut { Size = (uint)done }) ? Errno.None : Errno.Invalid;
        }
    }

    private int Synchronize(ref Request asked, bool isFolder)
    {
        if (!asked.TryRead(out FSyncIn arguments))
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            return Result((arguments.Flags & FSyncIn.DataOnly) != 0 ? Posix.Fdatasync(lease.Descriptor) : Posix.Fsync(lease.Descriptor));
        }
    }

    private int Allocate(ref Request asked)
    {
        if (!asked.TryRead(out FAllocateIn arguments) || arguments.Offset > long.MaxValue || arguments.Length > long.MaxValue)
        {
            return Errno.Invalid;
        }

        if ((arguments.Mode & ~(uint)(Posix.KeepSize | Posix.PunchHole | Posix.ZeroRange)) != 0)
        {
            return Errno.NotSupported;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            return Result(Posix.Fallocate(lease.Descriptor, (int)arguments.Mode, (long)arguments.Offset, (long)arguments.Length));
        }
    }

    /// <summary>Only where data and holes begin is the host's business; the descriptor's position is nobody's.</summary>
    private int Seek(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out LSeekIn arguments) || arguments.Whence is not (Posix.SeekData or Posix.SeekHole) || arguments.Offset > long.MaxValue)
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.Handle, isFolder: false, out Lease lease, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            long offset = Posix.Lseek(lease.Descriptor, (long)arguments.Offset, (int)arguments.Whence);
            return offset < 0 ? Posix.LastError : reply.TryWrite((ulong)offset) ? Errno.None : Errno.Invalid;
        }
    }

    private int CopyRange(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out CopyFileRangeIn arguments) || arguments.Flags != 0 || arguments.FromOffset > long.MaxValue || arguments.ToOffset > long.MaxValue)
        {
            return Errno.Invalid;
        }

        int error = _session.TryLeaseFile(arguments.FromHandle, isFolder: false, out Lease from, out _);
        if (error != Errno.None)
        {
            return error;
        }

        using (from)
        {
            error = _session.TryLeaseFile(arguments.ToHandle, isFolder: false, out Lease to, out _);
            if (error != Errno.None)
            {
                return error;
            }

            using (to)
            {
                long fromOffset = (long)arguments.FromOffset;
                long toOffset = (long)arguments.ToOffset;
                nint done = Posix.CopyFileRange(from.Descriptor, &fromOffset, to.Descriptor, &toOffset, (nuint)Math.Min(arguments.Length, MostCopied), 0);
                return done < 0 ? Posix.LastError : reply.TryWrite(new WriteOut { Size = (uint)done }) ? Errno.None : Errno.Invalid;
            }
        }
    }

    /// <summary>EROFS for writing to a share that is read-only.</summary>
    private int CheckFlags(uint flags)
    {
        uint access = flags & Posix.AccessModeMask;
        return access == Posix.AccessModeMask ? Errno.Invalid
            : _isReadOnly && (access != Posix.ReadOnly || (flags & Posix.Truncate) != 0) ? Errno.ReadOnly
            : Errno.None;
    }

    private static int HostFlags(uint flags) => ((int)flags & FileFlags) | Posix.NonBlock | Posix.NoControllingTerminal;

    private int TryOpenNode(ulong node, uint flags, out SafeFileHandle? descriptor)
    {
        descriptor = null;
        int error = _session.TryLease(node, out Lease lease, out FileType type);
        if (error != Errno.None)
        {
            return error;
        }

        using (lease)
        {
            error = TryOpen(lease.Descriptor, type, flags, isFolder: false, out SafeFileHandle opened);
            descriptor = error == Errno.None ? opened : null;
            return error;
        }
    }

    /// <summary>Opens a file or folder, and nothing else: to open a device or a pipe has effects.</summary>
    private int TryOpen(int node, FileType type, uint flags, bool isFolder, out SafeFileHandle descriptor)
    {
        descriptor = null!;
        if (type != (isFolder ? FileType.Directory : FileType.Regular))
        {
            return type switch
            {
                _ when isFolder => Errno.NotDirectory,
                FileType.Directory => Errno.IsDirectory,
                FileType.SymbolicLink => Errno.Loop,
                _ => Errno.NoDevice,
            };
        }

        int opened = isFolder ? Posix.Reopen((int)_descriptorFolder.DangerousGetHandle(), node, Posix.ReadOnly | Posix.Directory)
            : (flags & (Posix.AccessModeMask | Posix.Truncate)) == Posix.ReadOnly ? Posix.Reopen((int)_descriptorFolder.DangerousGetHandle(), node, HostFlags(flags))
            : OpenForWriting(node, HostFlags(flags) | ((int)flags & Posix.Truncate));
        if (opened < 0)
        {
            return Posix.LastError;
        }

        descriptor = new SafeFileHandle(opened, ownsHandle: true);
        return Errno.None;
    }

    /// <summary>
    /// Opens a file of the host to be changed. It loses the bits that let it run as another user, as it would if another
    /// user than root wrote to it: root's writes keep them, and the guest is not to be trusted with that.
    /// </summary>
    private int OpenForWriting(int node, int flags)
    {
        FileStatus status;
        if (Posix.Fstat(node, &status) < 0)
        {
            return -1;
        }

        int opened = Posix.Reopen((int)_descriptorFolder.DangerousGetHandle(), node, flags);
        if (opened >= 0 && (status.Mode & (SetUserBit | SetGroupBit)) != 0)
        {
            // Fails for files of others, whose bits the host's kernel then takes away itself.
            _ = Posix.Fchmod(opened, SafeMode(status.Mode, isFolder: false));
        }

        return opened;
    }

    /// <summary>A read that came up short has reached the file's end.</summary>
    private static bool IsAtEnd(int descriptor, nint done, ulong offset)
    {
        FileStatus status;
        return done >= 0 ? Posix.Fstat(descriptor, &status) == 0 && (long)offset + done >= status.Size : Posix.LastError != Errno.Again;
    }
}
