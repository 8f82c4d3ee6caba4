namespace Vivarium.Devices;

/// <summary>The state of a PS/2 keyboard.</summary>
public sealed record Ps2KeyboardState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>Scan codes, and answers to commands, that the controller has not taken yet.</summary>
    public byte[] Buffer { get; init; } = [];
    public byte[] Replies { get; init; } = [];

    /// <summary>The keys that are held.</summary>
    public Key[] Down { get; init; } = [];

    /// <summary>Set 3's behaviour of each code: bit 0 repeats, bit 1 tells when it goes up.</summary>
    public byte[] Behaviour { get; init; } = [];

    /// <summary>The command that waits for its byte; 0 if none.</summary>
    public byte PendingCommand { get; init; }

    /// <summary>The byte that was taken last.</summary>
    public byte Last { get; init; }

    public byte Rate { get; init; }
    public int Set { get; init; }
    public bool Scans { get; init; }
    public byte Indicators { get; init; }

    /// <summary>The key that repeats, and the guest time of its next repetition.</summary>
    public Key Repeated { get; init; }
    public long RepeatAt { get; init; }
}
