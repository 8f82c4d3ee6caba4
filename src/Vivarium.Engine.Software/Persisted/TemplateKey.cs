using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>What <see cref="TemplateKey.AllOf"/> gives.</summary>
[InlineArray(Count)]
internal struct TemplateKeys
{
    public const int Count = 3;

    private uint _first;
}

/// <summary>
/// By what templates are looked up: mode, place in the page, whether RIP is short, and the first bytes. How long the
/// block would be is not known yet, so there are three numbers to ask for: for blocks whose first ten bytes count, for those of
/// which three do because they are shorter or may have any immediate there, and for the rest. Most wrong candidates are
/// known by that without a look at them.
/// </summary>
internal static unsafe class TemplateKey
{
    /// <summary>Guest bytes that the key of a longer block counts: a kernel's functions begin with the same five.</summary>
    public const int LongBytes = sizeof(ulong) + sizeof(ushort);

    /// <summary>Likewise of a shorter one's: a move's prefix, opcode and register, for most.</summary>
    public const int MiddleBytes = 3;

    private const ulong GoldenRatio = 0x9E37_79B9_7F4A_7C15;

    /// <summary>All numbers under which a translation of the code at a RIP may be, the most telling first.</summary>
    public static TemplateKeys AllOf(BlockMode mode, ulong rip, byte* bytes, int length)
    {
        ulong place = Place(mode, rip);
        TemplateKeys keys = default;

        // Of a source at the end of its page, no others.
        keys[2] = Short(place, bytes);
        keys[1] = length >= MiddleBytes ? Middle(place, bytes) : keys[2];
        keys[0] = length >= LongBytes ? Long(place, bytes) : keys[1];
        return keys;
    }

    /// <param name="record">Its key is not set yet.</param>
    /// <param name="firstMasked">As <see cref="Relocations.FirstMasked"/>.</param>
    public static uint Of(BlockRecord* record, int firstMasked)
    {
        // Any RIP of the same kind.
        ulong place = Place(record->Mode, record->PageOffset | (record->Flags.HasFlag(RecordFlags.Short) ? 0 : 1ul << 40));
        byte* bytes = BlockRecord.GuestBytesOf(record);
        int certain = firstMasked < 0 ? record->DecodedLength : Math.Min(firstMasked, record->DecodedLength);
        return certain switch
        {
            >= LongBytes => Long(place, bytes),
            >= MiddleBytes => Middle(place, bytes),
            _ => Short(place, bytes),
        };
    }

    private static ulong Place(BlockMode mode, ulong rip)
        => ((rip & GuestMemory.PageMask) | ((ulong)mode << 12) | (Relocations.IsShort(rip) ? 1ul << 44 : 0)) * GoldenRatio;

    private static uint Long(ulong place, byte* bytes)
        => Mix(place, ((Unsafe.ReadUnaligned<ulong>(bytes) * GoldenRatio) ^ Unsafe.ReadUnaligned<ushort>(bytes + sizeof(ulong))) | 1);

    /// <summary>No other's number: bits above those of three bytes.</summary>
    private static uint Middle(ulong place, byte* bytes)
        => Mix(place, ((ulong)Unsafe.ReadUnaligned<ushort>(bytes) << 1) | ((ulong)bytes[2] << 17) | (1ul << 32));

    private static uint Short(ulong place, byte* bytes) => Mix(place, (ulong)*bytes << 1);

    private static uint Mix(ulong place, ulong bytes) => (uint)((place ^ bytes) * GoldenRatio >> 32);
}
