namespace Vivarium.Devices;

/// <summary>The state of a network card; the connections through it are the backend's.</summary>
public sealed record VirtioNetState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public VirtioDeviceState? Device { get; init; }

    /// <summary>The address that the driver has set, 6 bytes.</summary>
    public byte[] Mac { get; init; } = [];
    public bool Promiscuous { get; init; }
    public bool AllMulticast { get; init; }

    /// <summary>Further addresses to receive for, 6 bytes each.</summary>
    public byte[] MacTable { get; init; } = [];

    /// <summary>There were more addresses than the table holds: all are received for.</summary>
    public bool MacTableOverflow { get; init; }

    /// <summary>A bit for each VLAN to receive, 512 bytes.</summary>
    public byte[] Vlans { get; init; } = [];

    /// <summary>VIRTIO_NET_CTRL_GUEST_OFFLOADS: feature bits.</summary>
    public ulong GuestOffloads { get; init; }
}
