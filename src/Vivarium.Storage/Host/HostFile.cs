using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vivarium.Storage.Host;

/// <summary>
/// A file or block device of the host: positioned vectored I/O that is complete or throws, holes, durability, locks. Every
/// error names the file and the host's reason.
/// </summary>
internal sealed unsafe class HostFile : IDisposable
{
    private const uint OwnerAndReaders = 0x1A4; // rw-r--r--, less the umask

    private static readonly byte[] Zeroes = GC.AllocateArray<byte>(1 << 20, pinned: true);

    private readonly SafeFileHandle _handle;
    private bool _isLocked;
    private bool _cannotPunch;
    private bool _cannotZero;

    private HostFile(SafeFileHandle handle, string path)
    {
        _handle = handle;
        Path = path;
        Posix.FileStatus status = Status();
        Device = status.Device;
        Inode = status.Inode;
        IsBlockDevice = (status.Mode & Posix.FileTypeMask) == Posix.FileTypeBlock;
    }

    public string Path { get; }

    public ulong Device { get; }

    public ulong Inode { get; }

    public bool IsBlockDevice { get; }

    /// <summary>The file's size in bytes, now.</summary>
    public long Length
    {
        get
        {
            if (!IsBlockDevice)
            {
                return Status().Size;
            }

            long end = Posix.Lseek(_handle, 0, Posix.SeekEnd);
            return end >= 0 ? end : throw Failed("measure");
        }
    }

    /// <summary>The space that the file takes on the host's disk, in bytes.</summary>
    public long AllocatedLength => Status().Blocks * 512;

    /// <exception cref="DiskImageException">There is no such file, it may not be opened, or it is no file or block device.</exception>
    public static HostFile Open(string path, bool readOnly)
    {
        // A FIFO would block the open until somebody writes to it.
        int flags = (readOnly ? Posix.ReadOnly : Posix.ReadWrite) | Posix.CloseOnExec | Posix.NonBlock;
        int descriptor = OpenDescriptor(path, flags);
        if (descriptor < 0)
        {
            throw CannotOpen(path, Marshal.GetLastPInvokeError(), readOnly);
        }

        var file = new HostFile(new SafeFileHandle(descriptor, ownsHandle: true), path);
        uint type = file.Status().Mode & Posix.FileTypeMask;
        if (type is Posix.FileTypeRegular or Posix.FileTypeBlock)
        {
            return file;
        }

        file.Dispose();
        throw new DiskImageException(type == Posix.FileTypeDirectory
            ? $"{path} is a folder; name a disk image in it"
            : $"{path} is neither a file nor a block device");
    }

    /// <summary>Makes a file that has no name, so that nothing is left of it when this process ends in whatever way.</summary>
    /// <exception cref="DiskImageException">The folder is missing or may not be written.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static HostFile CreateUnnamed(string folder, string called)
    {
        int descriptor = OpenDescriptor(folder, Posix.ReadWrite | Posix.CloseOnExec | Posix.TemporaryFile);
        int error = Marshal.GetLastPInvokeError();
        string path = "";
        if (descriptor < 0 && error is Posix.ErrorNotSupported or Posix.ErrorIsDirectory)
        {
            // A file system without O_TMPFILE says so in one of these two ways.
            path = System.IO.Path.Combine(folder, $".viv-{Guid.NewGuid():N}");
            descriptor = OpenDescriptor(path, Posix.ReadWrite | Posix.CloseOnExec | Posix.Create | Posix.Exclusive);
            error = Marshal.GetLastPInvokeError();
        }

        if (descriptor >= 0)
        {
            if (path.Length > 0)
            {
                File.Delete(path);
            }

            return new HostFile(new SafeFileHandle(descriptor, ownsHandle: true), called);
        }

        throw error switch
        {
            Posix.ErrorNoEntry or Posix.ErrorNotDirectory => new DiskImageException($"cannot make {called}: the folder {folder} does not exist"),
            Posix.ErrorAccess or Posix.ErrorPermission or Posix.ErrorReadOnlyFileSystem => new DiskImageException($"cannot make {called}: no permission to write to the folder {folder}"),
            _ => Error($"cannot make {called}", error),
        };
    }

    /// <summary>Gives a file made by <see cref="CreateUnnamed"/> its name, now that it is complete and on the disk.</summary>
    /// <exception cref="DiskImageException">There is a file of that name.</exception>
    public void Publish(string path)
    {
        if (Posix.Fsync(_handle) < 0)
        {
            throw Failed("flush");
        }

        if (Posix.Linkat(Posix.CurrentFolder, $"/proc/self/fd/{_handle.DangerousGetHandle()}", Posix.CurrentFolder, path, Posix.FollowLinks) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            throw error == Posix.ErrorExists ? AlreadyThere(path) : Error($"cannot give {path} its name", error);
        }
    }

    public static DiskImageException AlreadyThere(string path) => new($"{path} exists already; remove it or choose another name");

    /// <summary>Locks the file against double use.</summary>
    /// <exception cref="DiskImageException">Somebody else uses it.</exception>
    public void Lock(bool exclusive)
    {
        _isLocked = true;
        if (!ImageLock.TryAcquire(_handle, exclusive))
        {
            throw new DiskImageException(exclusive
                ? $"{Path} is in use by another process; stop that one, or use the disk with overlay or readonly if nobody writes to it"
                : $"{Path} is being written by another process; stop that one first");
        }
    }

    /// <summary>Reads all segments; what lies past the end of the file reads as zeroes.</summary>
    public void Read(long offset, ReadOnlySpan<IoSegment> segments)
    {
        while (!segments.IsEmpty)
        {
            ReadOnlySpan<IoSegment> batch = segments[..Math.Min(segments.Length, Posix.IovMax)];
            long total = IoSegment.Sum(batch);
            long done = ReadOnce(offset, batch);
            while (done < total)
            {
                IoSegment rest = Rest(batch, done);
                long more = ReadOnce(offset + done, new ReadOnlySpan<IoSegment>(in rest));
                if (more == 0)
                {
                    IoSegment.Clear(batch, done, total - done);
                    break;
                }

                done += more;
            }

            offset += total;
            segments = segments[batch.Length..];
        }
    }

    public void Read(long offset, Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            var segment = new IoSegment(pointer, (nuint)buffer.Length);
            Read(offset, new ReadOnlySpan<IoSegment>(in segment));
        }
    }

    public void Write(long offset, ReadOnlySpan<IoSegment> segments)
    {
        while (!segments.IsEmpty)
        {
            ReadOnlySpan<IoSegment> batch = segments[..Math.Min(segments.Length, Posix.IovMax)];
            long total = IoSegment.Sum(batch);
            long done = WriteOnce(offset, batch);
            while (done < total)
            {
                IoSegment rest = Rest(batch, done);
                done += WriteOnce(offset + done, new ReadOnlySpan<IoSegment>(in rest));
            }

            offset += total;
            segments = segments[batch.Length..];
        }
    }

    public void Write(long offset, ReadOnlySpan<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            var segment = new IoSegment(pointer, (nuint)buffer.Length);
            Write(offset, new ReadOnlySpan<IoSegment>(in segment));
        }
    }

    /// <summary>Everything written so far is on the host's disk, with what is needed to find it again.</summary>
    public void Flush()
    {
        while (Posix.Fdatasync(_handle) < 0)
        {
            if (Marshal.GetLastPInvokeError() != Posix.ErrorInterrupted)
            {
                throw Failed("flush");
            }
        }
    }

    public void SetLength(long length)
    {
        if (Posix.Ftruncate(_handle, length) < 0)
        {
            throw Failed("change the size of");
        }
    }

    /// <summary>Gives the range's space back; it then reads as zeroes. False if the host cannot, and the content is as before.</summary>
    public bool TryPunchHole(long offset, long length)
    {
        if (_cannotPunch)
        {
            return false;
        }

        _cannotPunch = !TryFallocate(Posix.PunchHole | Posix.KeepSize, offset, length);
        return !_cannotPunch;
    }

    /// <summary>Makes the range read as zeroes and, where the host can, keeps space for it.</summary>
    public void WriteZeroes(long offset, long length)
    {
        if (!_cannotZero)
        {
            _cannotZero = !TryFallocate(Posix.ZeroRange, offset, length);
            if (!_cannotZero)
            {
                return;
            }
        }

        while (length > 0)
        {
            int count = (int)Math.Min(length, Zeroes.Length);
            Write(offset, Zeroes.AsSpan(0, count));
            offset += count;
            length -= count;
        }
    }

    /// <summary>Whether a hole begins at <paramref name="offset"/>, and for how many bytes the answer holds.</summary>
    public bool IsHole(long offset, long end, out long length)
    {
        if (!IsBlockDevice)
        {
            long data = Posix.Lseek(_handle, offset, Posix.SeekData);
            if (data < 0 && Marshal.GetLastPInvokeError() == Posix.ErrorNoDevice)
            {
                length = end - offset;
                return true;
            }

            if (data > offset)
            {
                length = Math.Min(data, end) - offset;
                return true;
            }

            long hole = data < 0 ? -1 : Posix.Lseek(_handle, offset, Posix.SeekHole);
            if (hole > offset)
            {
                length = Math.Min(hole, end) - offset;
                return false;
            }
        }

        length = end - offset;
        return false;
    }

    public void Dispose()
    {
        if (_isLocked)
        {
            _isLocked = false;
            ImageLock.Release(_handle);
        }

        _handle.Dispose();
    }

    private static int OpenDescriptor(string path, int flags)
    {
        int descriptor;
        do
        {
            descriptor = Posix.Open(path, flags, OwnerAndReaders);
        }
        while (descriptor < 0 && Marshal.GetLastPInvokeError() == Posix.ErrorInterrupted);
        return descriptor;
    }

    private static IOException CannotOpen(string path, int error, bool readOnly) => error switch
    {
        Posix.ErrorNoEntry or Posix.ErrorNotDirectory => new DiskImageException($"there is no disk image {path}; make one with: viv disk create {path} 8G"),
        Posix.ErrorIsDirectory => new DiskImageException($"{path} is a folder; name a disk image in it"),
        Posix.ErrorAccess or Posix.ErrorPermission or Posix.ErrorReadOnlyFileSystem => new DiskImageException(readOnly
            ? $"no permission to read {path}"
            : $"no permission to write {path}; use it with readonly or overlay"),
        _ => Error($"cannot open {path}", error),
    };

    private static IOException Error(string what, int error) => new($"{what}: {Marshal.GetPInvokeErrorMessage(error)}");

    /// <summary>What is left of the segment that byte <paramref name="done"/> of the list lies in.</summary>
    private static IoSegment Rest(ReadOnlySpan<IoSegment> segments, long done)
    {
        Span<IoSegment> window = stackalloc IoSegment[1];
        IoSegment.Slice(segments, done, long.MaxValue, window, out _);
        return window[0];
    }

    private long ReadOnce(long offset, ReadOnlySpan<IoSegment> segments)
    {
        fixed (IoSegment* first = segments)
        {
            while (true)
            {
                nint done = Posix.Preadv(_handle, first, segments.Length, offset);
                if (done >= 0)
                {
                    return done;
                }

                if (Marshal.GetLastPInvokeError() != Posix.ErrorInterrupted)
                {
                    throw Failed("read");
                }
            }
        }
    }

    private long WriteOnce(long offset, ReadOnlySpan<IoSegment> segments)
    {
        fixed (IoSegment* first = segments)
        {
            while (true)
            {
                nint done = Posix.Pwritev(_handle, first, segments.Length, offset);
                if (done > 0 || (done == 0 && IoSegment.Sum(segments) == 0))
                {
                    return done;
                }

                if (done == 0)
                {
                    throw new IOException($"cannot write {Path}: the device has no room there");
                }

                if (Marshal.GetLastPInvokeError() != Posix.ErrorInterrupted)
                {
                    throw Failed("write");
                }
            }
        }
    }

    /// <summary>False if this file system knows no such operation.</summary>
    private bool TryFallocate(int mode, long offset, long length)
    {
        while (Posix.Fallocate(_handle, mode, offset, length) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error != Posix.ErrorInterrupted)
            {
                return error is Posix.ErrorNotSupported or Posix.ErrorInvalid or Posix.ErrorPermission ? false : throw Failed("write");
            }
        }

        return true;
    }

    private Posix.FileStatus Status()
    {
        Posix.FileStatus status;
        return Posix.Fstat(_handle, &status) == 0 ? status : throw Failed("examine");
    }

    private IOException Failed(string verb) => Error($"cannot {verb} {Path}", Marshal.GetLastPInvokeError());
}
