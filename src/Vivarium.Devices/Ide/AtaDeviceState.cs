namespace Vivarium.Devices;

/// <summary>The state of a device on an IDE channel; its contents are the backend's.</summary>
public sealed record AtaDeviceState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public AtaTransferState? Transfer { get; init; }

    /// <summary>The next sector of the command under way, and how many it has left.</summary>
    public ulong Lba { get; init; }
    public uint Left { get; init; }

    /// <summary>Sectors in the buffer that the host has not read yet, and where they begin in it.</summary>
    public int Buffered { get; init; }
    public int BufferStart { get; init; }

    /// <summary>Sectors in a block of the command under way.</summary>
    public int Block { get; init; }

    /// <summary>How the command under way gave its address.</summary>
    public byte Addressing { get; init; }
    public bool ForceUnitAccess { get; init; }
    public bool Trim { get; init; }
    public byte[] Payload { get; init; } = [];

    public int Heads { get; init; }
    public int SectorsPerTrack { get; init; }
    public byte Multiple { get; init; }
    public byte TransferMode { get; init; }
    public byte DmaMode { get; init; }
    public bool WriteCache { get; init; }
    public bool LookAhead { get; init; }
    public bool RevertToDefaults { get; init; }
    public byte PowerMode { get; init; }
    public bool Asleep { get; init; }

    /// <summary>What a packet device has; null for a disk.</summary>
    public AtapiState? Packet { get; init; }
}

/// <summary>What a packet device has besides.</summary>
public sealed record AtapiState
{
    public MmcDriveState? Drive { get; init; }

    /// <summary>Bytes that a data request moves at most.</summary>
    public int ByteCountLimit { get; init; }
    public bool UsesDma { get; init; }
    public bool ExpectsPacket { get; init; }
    public bool IsIdentify { get; init; }

    /// <summary>The response that is on its way; null if it is blocks, or nothing.</summary>
    public byte[]? Response { get; init; }

    /// <summary>The next block of the command under way, and how many bytes it has left, those in the buffer included.</summary>
    public uint Block { get; init; }
    public ulong Left { get; init; }

    /// <summary>How many bytes of it DMA has moved.</summary>
    public ulong Position { get; init; }

    /// <summary>Where the bytes in the buffer begin and end.</summary>
    public int BufferStart { get; init; }
    public int BufferEnd { get; init; }
}

/// <summary>A device's registers and the data that it is about to move.</summary>
public sealed record AtaTransferState
{
    public byte[] Registers { get; init; } = [];
    public byte Status { get; init; }
    public byte Error { get; init; }
    public bool Interrupt { get; init; }

    /// <summary>SRST is set.</summary>
    public bool InReset { get; init; }

    /// <summary>0 for none, 1 for data to the host, 2 for data from it.</summary>
    public byte Pio { get; init; }
    public int Position { get; init; }
    public int BlockEnd { get; init; }

    /// <summary>The buffer, if PIO is under way.</summary>
    public byte[] Buffer { get; init; } = [];

    /// <summary>As <see cref="Pio"/>.</summary>
    public byte Dma { get; init; }
    public ulong DmaLeft { get; init; }
}
