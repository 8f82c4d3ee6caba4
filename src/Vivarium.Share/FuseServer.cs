using System.Runtime.CompilerServices;
using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;
using Vivarium.Share.Nodes;
using Vivarium.Share.Protocol;

namespace Vivarium.Share;

/// <summary>
/// A folder of the host, served by the FUSE protocol (Linux's include/uapi/linux/fuse.h, 7.31 to 7.38). Whoever asks in the guest,
/// the host sees the user who runs this process. Nothing outside the folder can be reached: every name is one component,
/// looked up beneath a descriptor that the guest got by such names, and no link is followed; what is neither a file nor a
/// folder is shown and never opened. Requests may come on several threads at once.
/// </summary>
public sealed unsafe partial class FuseServer : IDisposable
{
    /// <summary>The fewest descriptors with which a share is of any use.</summary>
    public const int LeastDescriptors = 16;

    private const uint Major = 7;
    private const uint Minor = 38;

    /// <summary>What the first Linux with virtio-fs speaks.</summary>
    private const uint LeastMinor = 31;

    private const uint PageSize = 4096;
    private const ushort MostPages = 256;
    private const ushort MostBackground = 64;
    private const ushort Congestion = 48;

    /// <summary>Stands for "this could take its time"; no error number.</summary>
    private const int WouldWait = -1;

    private readonly SafeFileHandle _root;
    private readonly SafeFileHandle _descriptorFolder;
    private readonly Session _session;
    private readonly bool _isReadOnly;
    private readonly bool _isSlow;

    private FuseServer(SafeFileHandle root, SafeFileHandle descriptorFolder, in FileStatus status, bool isReadOnly, bool isSlow, int descriptors)
    {
        _root = root;
        _descriptorFolder = descriptorFolder;
        _session = new Session(root, status, descriptors);
        _isReadOnly = isReadOnly;
        _isSlow = isSlow;
    }

    internal Session Session => _session;

    /// <summary>Opens a folder for sharing.</summary>
    /// <param name="path">May be a link to a folder: it is the user's word.</param>
    /// <param name="isReadOnly">Every change is refused with EROFS.</param>
    /// <param name="descriptors">The most descriptors that a guest can make this process hold, at least <see cref="LeastDescriptors"/>.</param>
    /// <exception cref="ShareException">The folder is not there, is none, or may not be read.</exception>
    public static FuseServer Open(string path, bool isReadOnly, int descriptors)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(descriptors, LeastDescriptors);
        int opened = Posix.Open(path, Posix.ReadOnly | Posix.Directory | Posix.CloseOnExec | Posix.NonBlock, 0);
        if (opened < 0)
        {
            throw new ShareException(CannotOpen(path, Posix.LastError));
        }

        var root = new SafeFileHandle(opened, ownsHandle: true);
        SafeFileHandle? descriptorFolder = null;
        try
        {
            FileStatus status;
            FileSystemStatus system;
            if (Posix.Fstat(opened, &status) < 0 || Posix.Fstatfs(opened, &system) < 0)
            {
                throw new ShareException($"cannot share '{path}': {Posix.Describe(Posix.LastError)}");
            }

            if (!OpensBeneath(opened, out int error))
            {
                throw new ShareException(error == Errno.NotImplemented
                    ? $"cannot share '{path}': this needs Linux 5.6 or newer on the host"
                    : $"cannot share '{path}': {Posix.Describe(error)}");
            }

            int proc = Posix.Open("/proc/self/fd", Posix.PathOnly | Posix.Directory | Posix.CloseOnExec, 0);
            if (proc < 0)
            {
                throw new ShareException($"cannot share '{path}' without /proc ({Posix.Describe(Posix.LastError)}); mount it");
            }

            descriptorFolder = new SafeFileHandle(proc, ownsHandle: true);
            return new FuseServer(root, descriptorFolder, status, isReadOnly, !FileSystemKind.IsQuick(system.Magic), descriptors);
        }
        catch
        {
            descriptorFolder?.Dispose();
            root.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Serves one request. False, with nothing done, if it could have to wait for a disk or a network and the caller may not:
    /// then it is to be asked again on a thread that may. Nothing is thrown.
    /// </summary>
    /// <param name="request">The request, which the guest may change meanwhile.</param>
    /// <param name="answer">The room that the guest has left for the answer.</param>
    /// <param name="mayWait">The calling thread has time.</param>
    /// <param name="written">How many bytes of the answer's beginning have been written; 0 for what has no answer.</param>
    [SkipLocalsInit]
    public bool TryServe(ReadOnlySpan<IoSegment> request, ReadOnlySpan<IoSegment> answer, bool mayWait, out uint written)
    {
        byte* room = stackalloc byte[Request.ArgumentRoom];
        written = 0;
        if (!Request.TryTake(request, room, out Request asked))
        {
            return true;
        }

        var reply = new Answer(answer);
        int error;
        try
        {
            switch (asked.Header.Opcode)
            {
                case FuseOpcode.Forget:
                    Forget(ref asked);
                    return true;
                case FuseOpcode.BatchForget:
                    BatchForget(ref asked);
                    return true;
                case FuseOpcode.Interrupt or FuseOpcode.NotifyReply:
                    // An interrupted request is answered all the same, when it is done; the protocol allows that.
                    return true;
            }

            error = asked.IsTruncated ? Errno.Invalid : _isSlow && !mayWait ? WouldWait : Execute(ref asked, ref reply, mayWait);
        }
        catch (Exception)
        {
            // Whatever has happened, it is neither the guest's business nor the end of the machine.
            error = Errno.Io;
        }

        if (error == WouldWait)
        {
            return false;
        }

        reply.Finish(asked.Header.Unique, error);
        written = reply.Written;
        return true;
    }

    /// <summary>The guest has forgotten everything: its descriptors are closed. No request may be under way.</summary>
    public void Reset() => _session.Clear();

    public void Dispose()
    {
        _session.Clear();
        _descriptorFolder.Dispose();
        _root.Dispose();
    }

    private int Execute(ref Request asked, ref Answer reply, bool mayWait)
    {
        FuseOpcode opcode = asked.Header.Opcode;
        if (_isReadOnly && Changes(opcode))
        {
            return Errno.ReadOnly;
        }

        if (!mayWait && opcode is FuseOpcode.FSync or FuseOpcode.FSyncDir or FuseOpcode.SyncFs or FuseOpcode.FAllocate or FuseOpcode.CopyFileRange)
        {
            return WouldWait;
        }

        return opcode switch
        {
            FuseOpcode.Init => Init(ref asked, ref reply),
            FuseOpcode.Destroy => Destroy(),
            FuseOpcode.Lookup => Lookup(ref asked, ref reply),
            FuseOpcode.GetAttr => GetAttr(ref asked, ref reply),
            FuseOpcode.SetAttr => SetAttr(ref asked, ref reply),
            FuseOpcode.Access => Access(ref asked),
            FuseOpcode.StatFs => StatFs(ref asked, ref reply),
            FuseOpcode.ReadLink => ReadLink(ref asked, ref reply),
            FuseOpcode.Symlink => Symlink(ref asked, ref reply),
            FuseOpcode.MkNod => MkNod(ref asked, ref reply),
            FuseOpcode.MkDir => MkDir(ref asked, ref reply),
            FuseOpcode.Unlink => Remove(ref asked, 0),
            FuseOpcode.RmDir => Remove(ref asked, Posix.RemoveDirectory),
            FuseOpcode.Rename => Rename(ref asked, hasFlags: false),
            FuseOpcode.Rename2 => Rename(ref asked, hasFlags: true),
            FuseOpcode.Link => Link(ref asked, ref reply),
            FuseOpcode.Open => Open(ref asked, ref reply, isFolder: false),
            FuseOpcode.OpenDir => Open(ref asked, ref reply, isFolder: true),
            FuseOpcode.Create => Create(ref asked, ref reply),
            FuseOpcode.Release => Release(ref asked, isFolder: false),
            FuseOpcode.ReleaseDir => Release(ref asked, isFolder: true),
            FuseOpcode.Flush => Flush(ref asked),
            FuseOpcode.Read => Read(ref asked, ref reply, mayWait),
            FuseOpcode.Write => Write(ref asked, ref reply),
            FuseOpcode.FSync => Synchronize(ref asked, isFolder: false),
            FuseOpcode.FSyncDir => Synchronize(ref asked, isFolder: true),
            FuseOpcode.SyncFs => Result(Posix.Syncfs((int)_root.DangerousGetHandle())),
            FuseOpcode.FAllocate => Allocate(ref asked),
            FuseOpcode.LSeek => Seek(ref asked, ref reply),
            FuseOpcode.CopyFileRange => CopyRange(ref asked, ref reply),
            FuseOpcode.ReadDir => ReadFolder(ref asked, ref reply, isPlus: false),
            FuseOpcode.ReadDirPlus => ReadFolder(ref asked, ref reply, isPlus: true),
            // Locks, extended attributes, ioctl and poll among them: the guest's kernel does without or by itself.
            _ => Errno.NotImplemented,
        };
    }

    private static bool Changes(FuseOpcode opcode) => opcode is FuseOpcode.SetAttr or FuseOpcode.Symlink or FuseOpcode.MkNod or FuseOpcode.MkDir
        or FuseOpcode.Unlink or FuseOpcode.RmDir or FuseOpcode.Rename or FuseOpcode.Rename2 or FuseOpcode.Link or FuseOpcode.Create
        or FuseOpcode.Write or FuseOpcode.FAllocate or FuseOpcode.CopyFileRange;

    private int Init(ref Request asked, ref Answer reply)
    {
        if (!asked.TryRead(out InitIn init))
        {
            return Errno.Invalid;
        }

        var agreed = new InitOut { Major = Major, Minor = Minor };
        if (init.Major < Major || (init.Major == Major && init.Minor < LeastMinor))
        {
            return Errno.Protocol;
        }

        // A new mount: what an earlier one knew is gone, also if it did not say good-bye. A newer major version asks again.
        if (init.Major == Major)
        {
            _session.Clear();
            agreed.MaxReadahead = init.MaxReadahead;
            agreed.Flags = init.Flags & (InitFlags.AsyncRead | InitFlags.AtomicTruncate | InitFlags.BigWrites | InitFlags.AutoInvalidateData
                | InitFlags.ReadDirPlus | InitFlags.ReadDirPlusAuto | InitFlags.AsyncDirectIo | InitFlags.ParallelDirectoryOperations | InitFlags.MaxPages);
            agreed.MaxBackground = MostBackground;
            agreed.CongestionThreshold = Congestion;
            agreed.MaxWrite = MostPages * PageSize;
            agreed.MaxPages = MostPages;
            agreed.TimeGranularity = 1;
        }

        return reply.TryWrite(agreed) ? Errno.None : Errno.Invalid;
    }

    private int Destroy()
    {
        _session.Clear();
        return Errno.None;
    }

    private void Forget(ref Request asked)
    {
        if (asked.TryRead(out ulong lookups))
        {
            _session.Forget(asked.Header.Node, lookups);
        }
    }

    private void BatchForget(ref Request asked)
    {
        if (!asked.TryRead(out BatchForgetIn batch))
        {
            return;
        }

        for (long i = 0; i < batch.Count && asked.TryReadItem(i, out ForgetOne one); i++)
        {
            _session.Forget(one.Node, one.Lookups);
        }
    }

    /// <summary>The error of a call that returns something negative on failure.</summary>
    private static int Result(long returned) => returned < 0 ? Posix.LastError : Errno.None;

    /// <summary>Whether the host's kernel has openat2, tried by opening the folder itself.</summary>
    private static bool OpensBeneath(int folder, out int error)
    {
        byte* self = stackalloc byte[] { (byte)'.', 0 };
        int opened = Posix.OpenBeneath(folder, self, Posix.PathOnly);
        error = opened < 0 ? Posix.LastError : Errno.None;
        _ = opened < 0 ? 0 : Posix.Close(opened);
        return opened >= 0;
    }

    private static string CannotOpen(string path, int error) => error switch
    {
        Errno.NoEntry => $"there is no folder '{path}' to share; make it, or name another",
        Errno.NotDirectory => $"'{path}' is no folder; name the folder that it is in",
        Errno.Access or Errno.Permission => $"no permission to read the folder '{path}'; share one that this user may read",
        _ => $"cannot share '{path}': {Posix.Describe(error)}",
    };
}
