namespace Vivarium.Devices;

/// <summary>The state that every virtio device has.</summary>
public sealed record VirtioDeviceState
{
    public byte Status { get; init; }
    public ulong DriverFeatures { get; init; }
    public byte ConfigGeneration { get; init; }
    public VirtqueueState[] Queues { get; init; } = [];
}
