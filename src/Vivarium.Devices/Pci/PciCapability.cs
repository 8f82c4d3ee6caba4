namespace Vivarium.Devices;

/// <summary>
/// An entry of a function's capability list (PCI 3.0, 6.7), without its first two bytes: those, identifier and link, are
/// the function's. Offsets count from the capability's beginning.
/// </summary>
public abstract class PciCapability(byte id, int length)
{
    public byte Id { get; } = id;

    /// <summary>The size in bytes with the identifier and the link.</summary>
    public int Length { get; } = length;

    /// <summary>Fills in what the capability reads as, and which of its bits a guest may change.</summary>
    public abstract void Initialize(Span<byte> registers, Span<byte> writable);

    /// <summary>A guest is about to read; <paramref name="registers"/> may be brought up to date.</summary>
    public virtual void Reading(Span<byte> registers, int offset, int size)
    {
    }

    /// <summary>A guest has written.</summary>
    public virtual void Written(Span<byte> registers, int offset, int size)
    {
    }
}
