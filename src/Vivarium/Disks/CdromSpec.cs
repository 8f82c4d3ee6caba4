namespace Vivarium;

/// <summary>One CD or DVD drive of a machine, and the disc in it.</summary>
public sealed record CdromSpec
{
    /// <summary>The disc: an image of whole blocks of 2048 bytes, or a block device of the host. Null: the drive is empty.</summary>
    public string? Path { get; init; }

    /// <summary>How the drive is connected: <see cref="DiskBus.Ide"/> or <see cref="DiskBus.Ahci"/>.</summary>
    public DiskBus Bus { get; init; } = DiskBus.Ide;

    internal void Validate()
    {
        if (Path is { Length: 0 })
        {
            throw new InvalidInputException("a CD drive needs a file or none; write for example --cdrom debian.iso");
        }

        if (Bus is not (DiskBus.Ide or DiskBus.Ahci))
        {
            throw new InvalidInputException("a CD drive is connected by ide or ahci");
        }
    }
}
