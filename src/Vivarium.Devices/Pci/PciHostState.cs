namespace Vivarium.Devices;

/// <summary>The state of the PCI host: the selected address, the reset register and the host bridge's configuration.</summary>
public sealed record PciHostState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    public uint ConfigAddress { get; init; }
    public byte ResetControl { get; init; }
    public byte[] HostBridge { get; init; } = [];
}
