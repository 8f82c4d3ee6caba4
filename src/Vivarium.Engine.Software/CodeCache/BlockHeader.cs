using System.Numerics;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// What stands before each translation's code: of a block of 64-bit code, all of its <see cref="BlockKey"/>, by which jumps
/// of translated code know it (<see cref="NativeFoundBlocks"/>).
/// </summary>
/// <param name="Rip">As in the <see cref="BlockKey"/>.</param>
/// <param name="Place">Physical page number, and the <see cref="BlockMode"/> above it; 0: no jump is to find the block (any more).</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly unsafe record struct BlockHeader(ulong Rip, ulong Place)
{
    // Where the fields stand.
    public const int RipOffset = 0;
    public const int PlaceOffset = 8;

    public const int Size = 16;

    public static BlockHeader Of(in BlockKey key) => new(key.Rip, (key.Gpa >> 12) | ((ulong)key.Mode << NativeExecutedPages.PhysicalBits));

    public static byte* Before(byte* code) => code - Size;

    /// <summary>As translated code hashes it.</summary>
    public uint Hash => BitOperations.Crc32C(BitOperations.Crc32C(0, Rip), Place);
}
