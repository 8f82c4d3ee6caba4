namespace Vivarium.Devices;

/// <summary>A submission queue: a ring of commands in guest memory (NVMe 1.4, 4.1). Under the controller's lock.</summary>
internal sealed class NvmeSubmissionQueue(ushort id, ulong address, uint size, NvmeCompletionQueue completions)
{
    public ushort Id { get; } = id;

    public ulong Address { get; } = address;

    /// <summary>Entries.</summary>
    public uint Size { get; } = size;

    public NvmeCompletionQueue Completions { get; } = completions;

    public uint Head { get; set; }

    public uint Tail { get; set; }

    /// <summary>Some thread takes commands out of it.</summary>
    public bool IsServed { get; set; }

    /// <summary>It is no longer one of the controller's.</summary>
    public bool IsDeleted { get; set; }
}

/// <summary>A completion queue. Under the controller's lock.</summary>
internal sealed class NvmeCompletionQueue(ushort id, ulong address, uint size, ushort vector, bool interrupts)
{
    public ushort Id { get; } = id;

    public ulong Address { get; } = address;

    /// <summary>Entries.</summary>
    public uint Size { get; } = size;

    public ushort Vector { get; } = vector;

    /// <summary>It interrupts.</summary>
    public bool Interrupts { get; } = interrupts;

    public uint Head { get; set; }

    public uint Tail { get; set; }

    /// <summary>The phase tag of entries that are new in this round.</summary>
    public bool Phase { get; set; } = true;

    /// <summary>Commands under way whose completions will come here.</summary>
    public uint Reserved { get; set; }

    /// <summary>How many submission queues complete here.</summary>
    public int Users { get; set; }

    public uint Used => (Tail + Size - Head) % Size;

    public bool HasRoom => Used + Reserved < Size - 1;
}
