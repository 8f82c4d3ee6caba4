namespace Vivarium.Devices;

/// <summary>Which way a device waits to move data by DMA.</summary>
internal enum DmaDirection : byte
{
    None,

    /// <summary>From the device: a read command.</summary>
    ToMemory,

    FromMemory,
}
