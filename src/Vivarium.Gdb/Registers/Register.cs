using Vivarium.Engine;

namespace Vivarium.Gdb.Registers;

/// <summary>One register as GDB numbers and names it.</summary>
/// <param name="Name">As in GDB's standard features, or our own.</param>
/// <param name="Bits">Its size in the protocol, a multiple of 8.</param>
/// <param name="Type">GDB's name of its type.</param>
internal abstract record Register(string Name, int Bits, string Type)
{
    public int Bytes => Bits / 8;

    /// <summary>Writes the value, little-endian, into a cleared place of <see cref="Bytes"/> bytes.</summary>
    public abstract void Read(CpuState state, Span<byte> value);

    /// <summary>False: the register cannot have this value, or cannot be changed from outside. Nothing has changed then.</summary>
    public abstract bool TryWrite(CpuState state, ReadOnlySpan<byte> value);
}
