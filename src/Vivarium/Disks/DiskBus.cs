namespace Vivarium;

/// <summary>How a disk is connected.</summary>
public enum DiskBus
{
    /// <summary>A virtio block device (vda in Linux).</summary>
    Virtio,

    /// <summary>A hard disk on the classic PC's IDE channels (sda in Linux): what systems without virtio drivers know.</summary>
    Ide,
}
