using Microsoft.Win32.SafeHandles;
using Vivarium.Share.Host;

namespace Vivarium.Share.Nodes;

/// <summary>A file, folder or link that the guest knows by a number. All that can change belongs to <see cref="Session"/>'s lock.</summary>
internal sealed class Node(ulong id, ulong device, ulong inode, FileType type)
{
    public ulong Id => id;

    public ulong Device => device;

    public ulong Inode => inode;

    public FileType Type => type;

    /// <summary>An O_PATH descriptor; null while it is put away, and for good when the guest has forgotten the node.</summary>
    public SafeFileHandle? Descriptor { get; set; }

    /// <summary>Where the node was found last, to open it again; the name ends with a NUL.</summary>
    public Node? Parent { get; set; }

    public byte[] Name { get; set; } = [];

    /// <summary>How often the guest has been told of the node and has not forgotten it.</summary>
    public ulong Lookups { get; set; }

    public int OpenFiles { get; set; }

    /// <summary>The place among the nodes whose descriptors may be put away; null if this one's may not.</summary>
    public LinkedListNode<Node>? Use { get; set; }
}
