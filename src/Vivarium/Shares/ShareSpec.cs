using System.Text;
using Vivarium.Devices;

namespace Vivarium;

/// <summary>A folder of the host that the guest can mount: in Linux, <c>mount -t virtiofs TAG /mnt</c>.</summary>
public sealed record ShareSpec
{
    /// <summary>The longest tag (virtio 1.2, 5.11.4), in bytes of UTF-8.</summary>
    public const int LongestTag = VirtioFs.MaxTag;

    /// <summary>The folder.</summary>
    public required string Path { get; init; }

    /// <summary>By which the guest finds it, 1 to <see cref="LongestTag"/> bytes.</summary>
    public required string Tag { get; init; }

    /// <summary>The guest can change nothing in the folder.</summary>
    public bool ReadOnly { get; init; }

    internal void Validate()
    {
        if (Path.Length == 0)
        {
            throw new InvalidInputException("a share needs a folder; write for example --share .:work");
        }

        if (Path.Contains('\0', StringComparison.Ordinal))
        {
            throw new InvalidInputException("the path of a shared folder contains a NUL");
        }

        if (Tag.Length == 0)
        {
            throw new InvalidInputException($"the share of '{Path}' needs a tag by which the guest finds it; write for example --share {Path}:work");
        }

        if (Encoding.UTF8.GetByteCount(Tag) > LongestTag)
        {
            throw new InvalidInputException($"the tag '{Tag}' of a share is longer than {LongestTag} bytes; choose a shorter one");
        }

        if (Tag.Any(char.IsControl))
        {
            throw new InvalidInputException($"the tag of the share of '{Path}' contains control characters; choose another");
        }
    }
}
