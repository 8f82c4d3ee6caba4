namespace Vivarium.Devices;

/// <summary>
/// A device that answers IN and OUT. Offsets are relative to the device's own base; sizes are 1, 2 or 4. Nothing a
/// guest writes may make it throw.
/// </summary>
public interface IPortDevice
{
    /// <summary>Reads <paramref name="size"/> bytes; bits above them are ignored by the bus.</summary>
    uint ReadPort(ushort offset, int size);

    /// <summary>Writes <paramref name="size"/> bytes; the bus has cleared the bits above them.</summary>
    void WritePort(ushort offset, int size, uint value);
}
