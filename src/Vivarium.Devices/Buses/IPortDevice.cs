using System.Runtime.InteropServices;

namespace Vivarium.Devices;

/// <summary>
/// A device that answers IN and OUT. Offsets are relative to the device's own base; sizes are 1, 2 or 4. Nothing a
/// guest writes may make it throw.
/// </summary>
public interface IPortDevice
{
    /// <summary>Reads <paramref name="size"/> bytes; bits above them are ignored by the bus.</summary>
    uint ReadPort(ushort offset, int size);

    /// <summary>Reads <paramref name="size"/> bytes again and again until the elements are full (REP INS). By default each is a <see cref="ReadPort"/>.</summary>
    void ReadPorts(ushort offset, int size, Span<byte> elements)
    {
        while (!elements.IsEmpty)
            elements = Put(elements, ReadPort(offset, size), size);
    }

    /// <summary>Writes <paramref name="size"/> bytes; the bus has cleared the bits above them.</summary>
    void WritePort(ushort offset, int size, uint value);

    /// <summary>Makes a value the first element; gives the others.</summary>
    internal static Span<byte> Put(Span<byte> elements, uint value, int size)
    {
        MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(ref value))[..size].CopyTo(elements);
        return elements[size..];
    }
}
