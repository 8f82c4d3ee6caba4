namespace Vivarium.Devices;

/// <summary>A virtqueue's registers and the device's position in the ring, which stands in no guest memory.</summary>
public sealed record VirtqueueState
{
    public ushort Size { get; init; }
    public bool Enabled { get; init; }
    public ulong DescriptorArea { get; init; }
    public ulong DriverArea { get; init; }
    public ulong DeviceArea { get; init; }
    public ushort NextAvailable { get; init; }
    public ushort NextUsed { get; init; }

    /// <summary>How far the used index has moved since the driver was last asked whether it wants an interrupt.</summary>
    public ushort Unsignalled { get; init; }

    /// <summary>Wrap counters (packed ring).</summary>
    public bool AvailableWrap { get; init; }
    public bool UsedWrap { get; init; }
}
