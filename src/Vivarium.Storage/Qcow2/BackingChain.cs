using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>The files on the way down from an image to its last backing file: none twice, and not too many.</summary>
internal sealed class BackingChain
{
    /// <summary>Each image of a chain costs file descriptors, memory and a step of each read.</summary>
    public const int MaxDepth = 64;

    private readonly HashSet<(ulong Device, ulong Inode)> _seen = [];

    /// <exception cref="DiskImageException">The file has been in the chain already, or the chain is too long.</exception>
    public void Enter(HostFile file)
    {
        if (!_seen.Add((file.Device, file.Inode)))
        {
            throw new DiskImageException($"{file.Path} is its own backing file, directly or through others; correct it with: qemu-img rebase -u");
        }

        if (_seen.Count > MaxDepth)
        {
            throw new DiskImageException($"{file.Path} is number {_seen.Count} of a chain of backing files, and {MaxDepth} are allowed; shorten the chain with: viv disk convert");
        }
    }
}
