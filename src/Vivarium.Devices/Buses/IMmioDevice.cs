namespace Vivarium.Devices;

/// <summary>
/// A device whose registers lie in the physical address space. Offsets are relative to the device's own base; sizes
/// are 1, 2, 4 or 8. Nothing a guest writes may make it throw.
/// </summary>
public interface IMmioDevice
{
    /// <summary>Reads <paramref name="size"/> bytes; bits above them are ignored by the bus.</summary>
    ulong ReadMmio(ulong offset, int size);

    /// <summary>Writes <paramref name="size"/> bytes; the bus has cleared the bits above them.</summary>
    void WriteMmio(ulong offset, int size, ulong value);
}
