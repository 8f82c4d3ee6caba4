using Microsoft.Win32.SafeHandles;

namespace Vivarium.Share.Nodes;

/// <summary>A file or folder that the guest has open.</summary>
internal sealed class OpenFile(Node node, SafeFileHandle descriptor, bool isFolder)
{
    public Node Node => node;

    public SafeFileHandle Descriptor => descriptor;

    public bool IsFolder => isFolder;

    /// <summary>
    /// Held while a folder is read, because its position belongs to the descriptor. Only requests for the same open folder,
    /// which a guest's kernel sends one after the other, wait for it.
    /// </summary>
    public Lock Position { get; } = new();
}
