namespace Vivarium;

/// <summary>How a disk is connected.</summary>
public enum DiskBus
{
    /// <summary>A virtio block device (vda in Linux).</summary>
    Virtio,

    /// <summary>A hard disk on the classic PC's IDE channels (sda in Linux): what systems without virtio drivers know.</summary>
    Ide,

    /// <summary>A hard disk on a Serial ATA controller (AHCI).</summary>
    Ahci,

    /// <summary>An NVM Express controller of its own (nvme0n1 in Linux).</summary>
    Nvme,
}
