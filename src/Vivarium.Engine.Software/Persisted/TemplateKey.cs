using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// By what templates are looked up: mode, place in the page, whether RIP is short, and the first bytes. How long the
/// block would be is not known yet, so there are two numbers to ask for: one for blocks whose first ten bytes count, and
/// one for those that are shorter, or may have any immediate there.
/// </summary>
internal static unsafe class TemplateKey
{
    /// <summary>Guest bytes that the key of a longer block counts: a kernel's functions begin with the same five.</summary>
    public const int LongBytes = sizeof(ulong) + sizeof(ushort);

    private const ulong GoldenRatio = 0x9E37_79B9_7F4A_7C15;

    public static uint Long(BlockMode mode, ulong rip, byte* bytes)
        => Mix(mode, rip, ((Unsafe.ReadUnaligned<ulong>(bytes) * GoldenRatio) ^ Unsafe.ReadUnaligned<ushort>(bytes + sizeof(ulong))) | 1);

    public static uint Short(BlockMode mode, ulong rip, byte* bytes) => Mix(mode, rip, (ulong)*bytes << 1);

    /// <param name="record">Its key is not set yet.</param>
    /// <param name="firstImmediate">As <see cref="Relocations.FirstImmediate"/>.</param>
    public static uint Of(BlockRecord* record, int firstImmediate)
    {
        // Any RIP of the same kind.
        ulong rip = record->PageOffset | (record->Flags.HasFlag(RecordFlags.Short) ? 0 : 1ul << 40);
        byte* bytes = BlockRecord.GuestBytesOf(record);
        return record->DecodedLength >= LongBytes && (firstImmediate < 0 || firstImmediate >= LongBytes)
            ? Long(record->Mode, rip, bytes)
            : Short(record->Mode, rip, bytes);
    }

    private static uint Mix(BlockMode mode, ulong rip, ulong bytes)
    {
        ulong place = (rip & GuestMemory.PageMask) | ((ulong)mode << 12) | (Relocations.IsShort(rip) ? 1ul << 44 : 0);
        return (uint)(((place * GoldenRatio) ^ bytes) * GoldenRatio >> 32);
    }
}
