namespace Vivarium.Devices;

/// <summary>The state of a PS/2 mouse.</summary>
public sealed record Ps2MouseState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>What the controller has not taken yet.</summary>
    public byte[] Output { get; init; } = [];

    /// <summary>Motions that have not become packets yet.</summary>
    public Ps2Motion[] Motions { get; init; } = [];

    public PointerButtons Buttons { get; init; }

    /// <summary>The command that waits for its byte; 0 if none.</summary>
    public byte PendingCommand { get; init; }

    /// <summary>The byte that was taken last.</summary>
    public byte Last { get; init; }

    public byte Id { get; init; }
    public byte Rate { get; init; }

    /// <summary>The last three sample rates, which choose the identity.</summary>
    public int Rates { get; init; }

    public byte Resolution { get; init; }
    public bool IsScaled { get; init; }
    public bool IsRemote { get; init; }
    public bool Wraps { get; init; }
    public bool IsEnabled { get; init; }
}
