namespace Vivarium.Firmware;

/// <summary>One range of the memory map that firmware hands to an operating system.</summary>
public readonly record struct E820Entry(ulong Start, ulong Length, E820Type Type)
{
    /// <summary>First address past the range.</summary>
    public ulong End => Start + Length;
}
