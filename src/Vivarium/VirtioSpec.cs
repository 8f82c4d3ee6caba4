namespace Vivarium;

/// <summary>How the guest finds a machine's virtio devices, and what kind of rings it is offered.</summary>
public sealed record VirtioSpec
{
    public VirtioTransport Transport { get; init; }

    /// <summary>Offer packed virtqueues (VIRTIO_F_RING_PACKED), which a driver may leave unused.</summary>
    public bool PackedRings { get; init; }
}
