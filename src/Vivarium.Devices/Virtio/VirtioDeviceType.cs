namespace Vivarium.Devices;

/// <summary>Device types (virtio 1.2, 5).</summary>
public enum VirtioDeviceType : ushort
{
    Network = 1,
    Block = 2,
    Console = 3,
    Entropy = 4,
    Balloon = 5,
    Socket = 19,
    FileSystem = 26,
}
