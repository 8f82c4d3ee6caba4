namespace Vivarium.Devices;

/// <summary>The state of a virtio PCI transport: what the driver has set up beside the device itself.</summary>
public sealed record VirtioPciTransportState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public PciFunctionState? Function { get; init; }
    public ushort ConfigVector { get; init; }
    public ushort[] QueueVectors { get; init; } = [];
    public uint DeviceFeatureSelect { get; init; }
    public uint DriverFeatureSelect { get; init; }
    public ushort QueueSelect { get; init; }
    public byte Isr { get; init; }
}
