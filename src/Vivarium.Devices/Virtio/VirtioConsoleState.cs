namespace Vivarium.Devices;

/// <summary>The state of a console device, with what the host has sent and the guest has not read.</summary>
public sealed record VirtioConsoleState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }
    public VirtioConsolePortState[] Ports { get; init; } = [];
}

/// <summary>The state of one port.</summary>
public sealed record VirtioConsolePortState
{
    public byte[] Waiting { get; init; } = [];
    public bool GuestOpen { get; init; }

    /// <summary>Control messages that wait for the guest's buffers.</summary>
    public byte Messages { get; init; }
}
