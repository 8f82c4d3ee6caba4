namespace Vivarium.Devices;

/// <summary>The state of a virtio MMIO transport: what the driver has set up beside the device itself.</summary>
public sealed record VirtioMmioTransportState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public uint DeviceFeaturesSelect { get; init; }
    public uint DriverFeaturesSelect { get; init; }
    public uint QueueSelect { get; init; }
    public uint InterruptStatus { get; init; }
}
