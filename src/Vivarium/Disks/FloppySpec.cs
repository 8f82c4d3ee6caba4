namespace Vivarium;

/// <summary>One floppy disk drive of a machine, and the disk in it.</summary>
public sealed record FloppySpec
{
    /// <summary>The disk: an image of one of the usual sizes. Null: the drive is empty.</summary>
    public string? Path { get; init; }

    /// <summary>The disk is write-protected.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>What the guest writes is gone when the disk is taken out.</summary>
    public bool Overlay { get; init; }

    internal void Validate()
    {
        if (Path is { Length: 0 })
        {
            throw new InvalidInputException("a floppy drive needs a file or none; write for example --floppy dos.img");
        }

        if (ReadOnly && Overlay)
        {
            throw new InvalidInputException($"the floppy '{Path}' is to be read-only and to have an overlay for writes; leave out one of them");
        }
    }
}
