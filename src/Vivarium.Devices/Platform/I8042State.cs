namespace Vivarium.Devices;

/// <summary>The state of the keyboard controller.</summary>
public sealed record I8042State
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public byte CommandByte { get; init; }
    public byte OutputPort { get; init; }

    /// <summary>The command that waits for its data byte; 0 if none.</summary>
    public byte PendingCommand { get; init; }

    /// <summary>The status register's bit 3: the last write was a command.</summary>
    public bool LastWasCommand { get; init; }

    /// <summary>Bytes for the system in order; the high byte holds the status bits that come with each.</summary>
    public ushort[] Output { get; init; } = [];

    /// <summary>The translation has seen the prefix of a key that goes up.</summary>
    public bool GoesUp { get; init; }

    /// <summary>The devices, if they are plugged in.</summary>
    public Ps2KeyboardState? Keyboard { get; init; }
    public Ps2MouseState? Mouse { get; init; }
}
