using Vivarium.Storage;

namespace Vivarium;

/// <summary>One disk of a machine, on an image file.</summary>
public sealed record DiskSpec
{
    /// <summary>The longest serial number that a disk can tell (virtio 1.2, 5.2.6; ATA8-ACS, 7.16), in bytes.</summary>
    public const int LongestSerial = 20;

    /// <summary>The image: a file, or a block device of the host.</summary>
    public required string Path { get; init; }

    /// <summary>How the image is laid out; null looks at its first bytes.</summary>
    public ImageFormat? Format { get; init; }

    /// <summary>The guest cannot write; others may read the image at the same time.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>What the guest writes goes to a throw-away overlay and is gone with the machine; the image is only read.</summary>
    public bool Overlay { get; init; }

    /// <summary>What the guest reads as the disk's serial number, at most <see cref="LongestSerial"/> printable ASCII characters.</summary>
    public string? Serial { get; init; }

    /// <summary>How the disk is connected; null: by IDE to a classic PC (<see cref="Virtualization.Full"/>), by virtio to others.</summary>
    public DiskBus? Bus { get; init; }

    internal void Validate()
    {
        if (Path.Length == 0)
        {
            throw new InvalidInputException("a disk needs a file; write for example --disk disk.qcow2");
        }

        if (ReadOnly && Overlay)
        {
            throw new InvalidInputException($"the disk '{Path}' is to be read-only and to have an overlay for writes; leave out one of them");
        }

        if (Serial is not null && (Serial.Length is 0 or > LongestSerial || Serial.AsSpan().ContainsAnyExceptInRange('!', '~')))
        {
            throw new InvalidInputException($"a disk's serial number has 1 to {LongestSerial} printable ASCII characters without blanks, unlike '{Serial}'");
        }
    }
}
