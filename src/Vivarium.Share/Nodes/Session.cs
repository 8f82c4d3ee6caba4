using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;

namespace Vivarium.Share.Nodes;

/// <summary>
/// What one guest knows and has open: nodes and handles by number, and the descriptors behind them, of which there are
/// never more than a limit. Folders and open files keep theirs; those of other nodes are put away, the least used first, and
/// opened again by the name they were found under if the same file is still there. The lock is never held while the host works.
/// </summary>
internal sealed unsafe class Session
{
    /// <summary>FUSE_ROOT_ID.</summary>
    public const ulong RootId = 1;

    /// <summary>
    /// More nodes than a guest's own cache holds, at some hundred bytes each here: a guest that makes and removes files and
    /// never forgets them ends there.
    /// </summary>
    private const int MostNodes = 1 << 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, Node> _nodes = [];
    private readonly Dictionary<(ulong Device, ulong Inode), Node> _byInode = [];
    private readonly Dictionary<ulong, OpenFile> _files = [];
    private readonly LinkedList<Node> _idle = new();
    private readonly Node _root;
    private readonly int _limit;
    private readonly int _mostNodes;
    private int _descriptors;

    // Numbers are never used twice, not even by the next session.
    private ulong _lastNode = RootId;
    private ulong _lastHandle;

    /// <param name="root">The shared folder; the session does not close it.</param>
    /// <param name="limit">The most descriptors.</param>
    /// <param name="mostNodes">The most nodes, the root among them.</param>
    public Session(SafeFileHandle root, in FileStatus status, int limit, int mostNodes = MostNodes)
    {
        _limit = limit;
        _mostNodes = mostNodes;
        _root = new Node(RootId, status.Device, status.Inode, status.Type) { Descriptor = root };
        AddRoot();
    }

    /// <summary>How many descriptors are open, for tests.</summary>
    internal int Descriptors
    {
        get
        {
            lock (_lock)
            {
                return _descriptors;
            }
        }
    }

    /// <summary>How many nodes the guest knows, for tests.</summary>
    internal int Nodes
    {
        get
        {
            lock (_lock)
            {
                return _nodes.Count;
            }
        }
    }

    /// <summary>Gives a node's O_PATH descriptor. ESTALE if the guest may not know the node, or it is no longer where it was.</summary>
    public int TryLease(ulong id, out Lease lease, out FileType type)
    {
        lease = default;
        type = default;
        Node? node;
        SafeFileHandle? folder;
        byte[] name;
        lock (_lock)
        {
            if (!_nodes.TryGetValue(id, out node))
            {
                return Errno.Stale;
            }

            type = node.Type;
            if (node.Descriptor is { } present)
            {
                Touch(node);
                lease = new Lease(present);
                return Errno.None;
            }

            folder = node.Parent?.Descriptor;
            name = node.Name;
            if (folder is null)
            {
                return Errno.Stale;
            }

            lease = new Lease(folder);
        }

        int descriptor;
        using (lease)
        {
            fixed (byte* pointer = name)
            {
                descriptor = Posix.OpenBeneath(lease.Descriptor, pointer, Posix.PathOnly);
            }
        }

        lease = default;
        if (descriptor < 0)
        {
            return Errno.Stale;
        }

        var opened = new SafeFileHandle(descriptor, ownsHandle: true);
        FileStatus status;
        if (Posix.Fstat(descriptor, &status) < 0 || status.Device != node.Device || status.Inode != node.Inode || status.Type != node.Type)
        {
            opened.Dispose();
            return Errno.Stale;
        }

        return Replace(node, opened, out lease);
    }

    /// <summary>
    /// Makes what a descriptor stands for known to the guest, and counts that. Takes the descriptor, whatever happens. ENFILE
    /// if there are too many.
    /// </summary>
    public int Remember(SafeFileHandle descriptor, in FileStatus status, ulong folder, ReadOnlySpan<byte> name, out ulong id)
    {
        SafeFileHandle? superfluous = descriptor;
        id = 0;
        try
        {
            lock (_lock)
            {
                if (!_nodes.TryGetValue(folder, out Node? parent))
                {
                    return Errno.Stale;
                }

                bool isKnown = _byInode.TryGetValue((status.Device, status.Inode), out Node? node) && node.Type == status.Type;
                if (node == _root)
                {
                    // A folder cannot be inside itself, but for the host's bind mounts.
                    node.Lookups++;
                    id = node.Id;
                    return Errno.None;
                }

                if (!isKnown || node!.Descriptor is null)
                {
                    if (!isKnown && _nodes.Count >= _mostNodes)
                    {
                        return Errno.TooManyFilesInSystem;
                    }

                    if (!TryMakeRoom(out superfluous))
                    {
                        superfluous = descriptor;
                        return Errno.TooManyFilesInSystem;
                    }

                    if (!isKnown)
                    {
                        node = new Node(++_lastNode, status.Device, status.Inode, status.Type);
                        _nodes.Add(node.Id, node);
                        _byInode[(status.Device, status.Inode)] = node;
                    }

                    node!.Descriptor = descriptor;
                    _descriptors++;
                }

                node.Parent = parent;
                if (!node.Name.AsSpan().SequenceEqual(name))
                {
                    node.Name = name.ToArray();
                }

                node.Lookups++;
                Touch(node);
                id = node.Id;
                return Errno.None;
            }
        }
        finally
        {
            superfluous?.Dispose();
        }
    }

    /// <summary>A node has got another name.</summary>
    public void Renamed(in FileStatus status, ulong folder, ReadOnlySpan<byte> name)
    {
        lock (_lock)
        {
            if (_byInode.TryGetValue((status.Device, status.Inode), out Node? node) && node != _root && _nodes.TryGetValue(folder, out Node? parent))
            {
                node.Parent = parent;
                node.Name = name.ToArray();
            }
        }
    }

    /// <summary>The guest forgets that it has been told of a node so many times.</summary>
    public void Forget(ulong id, ulong lookups)
    {
        SafeFileHandle? closed = null;
        lock (_lock)
        {
            if (!_nodes.TryGetValue(id, out Node? node) || node == _root)
            {
                return;
            }

            node.Lookups -= Math.Min(lookups, node.Lookups);
            if (node.Lookups != 0)
            {
                return;
            }

            _ = _nodes.Remove(id);
            if (_byInode.TryGetValue((node.Device, node.Inode), out Node? current) && current == node)
            {
                _ = _byInode.Remove((node.Device, node.Inode));
            }

            closed = PutAway(node);
            node.Parent = null;
        }

        closed?.Dispose();
    }

    /// <summary>Gives an open file a number. Takes the descriptor, whatever happens. ENFILE if there are too many.</summary>
    public int Open(ulong id, SafeFileHandle descriptor, bool isFolder, out ulong handle)
    {
        SafeFileHandle? superfluous = descriptor;
        handle = 0;
        try
        {
            lock (_lock)
            {
                if (!_nodes.TryGetValue(id, out Node? node))
                {
                    return Errno.Stale;
                }

                // While it is open, the node must be found even if its name is gone.
                Pin(node);
                if (!TryMakeRoom(out superfluous))
                {
                    superfluous = descriptor;
                    Unpin(node);
                    return Errno.TooManyFilesInSystem;
                }

                _descriptors++;
                handle = ++_lastHandle;
                _files.Add(handle, new OpenFile(node, descriptor, isFolder));
                return Errno.None;
            }
        }
        finally
        {
            superfluous?.Dispose();
        }
    }

    /// <summary>Gives an open file's or folder's descriptor; EBADF if there is none of this number and kind.</summary>
    public int TryLeaseFile(ulong handle, bool isFolder, out Lease lease, out OpenFile file)
    {
        lock (_lock)
        {
            if (!_files.TryGetValue(handle, out file!) || file.IsFolder != isFolder)
            {
                lease = default;
                return Errno.BadDescriptor;
            }

            lease = new Lease(file.Descriptor);
            return Errno.None;
        }
    }

    /// <summary>EBADF if there is no such file.</summary>
    public int Close(ulong handle, bool isFolder)
    {
        OpenFile? file;
        lock (_lock)
        {
            if (!_files.TryGetValue(handle, out file) || file.IsFolder != isFolder)
            {
                return Errno.BadDescriptor;
            }

            _ = _files.Remove(handle);
            _descriptors--;
            Unpin(file.Node);
        }

        file.Descriptor.Dispose();
        return Errno.None;
    }

    /// <summary>The guest knows nothing any more, but the root.</summary>
    public void Clear()
    {
        List<SafeFileHandle> closed = [];
        lock (_lock)
        {
            closed.AddRange(_files.Values.Select(file => file.Descriptor));
            foreach (Node node in _nodes.Values)
            {
                if (node != _root && node.Descriptor is { } descriptor)
                {
                    closed.Add(descriptor);
                    node.Descriptor = null;
                }

                node.Use = null;
                node.Parent = null;
            }

            _files.Clear();
            _nodes.Clear();
            _byInode.Clear();
            _idle.Clear();
            _descriptors = 0;
            _root.OpenFiles = 0;
            AddRoot();
        }

        foreach (SafeFileHandle descriptor in closed)
        {
            descriptor.Dispose();
        }
    }

    private void AddRoot()
    {
        _nodes.Add(RootId, _root);
        _byInode.Add((_root.Device, _root.Inode), _root);
    }

    /// <summary>Gives a node its descriptor back, unless another request was faster.</summary>
    private int Replace(Node node, SafeFileHandle opened, out Lease lease)
    {
        SafeFileHandle? superfluous = opened;
        lease = default;
        try
        {
            lock (_lock)
            {
                if (node.Lookups == 0)
                {
                    return Errno.Stale;
                }

                if (node.Descriptor is null)
                {
                    if (!TryMakeRoom(out superfluous))
                    {
                        superfluous = opened;
                        return Errno.TooManyFilesInSystem;
                    }

                    node.Descriptor = opened;
                    _descriptors++;
                }

                Touch(node);
                lease = new Lease(node.Descriptor);
                return Errno.None;
            }
        }
        finally
        {
            superfluous?.Dispose();
        }
    }

    /// <summary>Makes room for one descriptor; the caller closes what is put away for it. Lock held.</summary>
    private bool TryMakeRoom(out SafeFileHandle? putAway)
    {
        putAway = null;
        if (_descriptors < _limit)
        {
            return true;
        }

        if (_idle.First is not { } least)
        {
            return false;
        }

        putAway = PutAway(least.Value);
        return true;
    }

    /// <summary>The node's descriptor, which the caller closes. Lock held.</summary>
    private SafeFileHandle? PutAway(Node node)
    {
        SafeFileHandle? descriptor = node.Descriptor;
        if (descriptor is not null)
        {
            node.Descriptor = null;
            _descriptors--;
        }

        RemoveFromIdle(node);
        return descriptor;
    }

    /// <summary>The node has been used. Lock held.</summary>
    private void Touch(Node node)
    {
        if (node.Use is { } use)
        {
            _idle.Remove(use);
            _idle.AddLast(use);
        }
        else if (node.Type != FileType.Directory && node.OpenFiles == 0 && node.Descriptor is not null)
        {
            node.Use = _idle.AddLast(node);
        }
    }

    private void Pin(Node node)
    {
        node.OpenFiles++;
        RemoveFromIdle(node);
    }

    private void Unpin(Node node)
    {
        node.OpenFiles--;
        Touch(node);
    }

    private void RemoveFromIdle(Node node)
    {
        if (node.Use is { } use)
        {
            _idle.Remove(use);
            node.Use = null;
        }
    }
}
