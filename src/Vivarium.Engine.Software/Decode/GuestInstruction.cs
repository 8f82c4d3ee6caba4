using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>One decoded instruction of a block that is being translated.</summary>
internal unsafe struct GuestInstruction
{
    public Instruction Instruction;
    public ulong Rip;

    /// <summary>RIP of the instruction behind it, wrapped to the code's size.</summary>
    public ulong NextRip;

    /// <summary>The bytes that were decoded: a copy, valid until the next block is decoded.</summary>
    public byte* Bytes;

    /// <summary>Number of bytes.</summary>
    public int Length;

    /// <summary>Distance of the instruction's end from the block's first byte.</summary>
    public int End;

    public readonly ReadOnlySpan<byte> Code => new(Bytes, Length);
}
