namespace Vivarium.Storage;

/// <summary>How the bytes of a disk lie in its file.</summary>
public enum ImageFormat
{
    /// <summary>Byte n of the disk is byte n of the file (or host block device).</summary>
    Raw,

    /// <summary>QEMU's copy-on-write format, versions 2 and 3.</summary>
    Qcow2,
}
