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

    /// <summary>All numbers under which a translation of the source's code may be, the most telling first.</summary>
    public static TemplateKeys AllOf(in CodeSource source, BlockMode mode)
    {
        TemplateKeys keys = default;
        int count = 0;
        if (source.Length >= LongBytes)
        {
            keys[count++] = Long(mode, source.Rip, source.Bytes);
        }

        if (source.Length >= MiddleBytes)
        {
            keys[count++] = Middle(mode, source.Rip, source.Bytes);
        }

        keys[count++] = Short(mode, source.Rip, source.Bytes);
        while (count < TemplateKeys.Count)
        {
            // Of a source at the end of its page: no others.
            keys[count] = keys[count - 1];
            count++;
        }

        return keys;
    }

    public static uint Long(BlockMode mode, ulong rip, byte* bytes)
        => Mix(mode, rip, ((Unsafe.ReadUnaligned<ulong>(bytes) * GoldenRatio) ^ Unsafe.ReadUnaligned<ushort>(bytes + sizeof(ulong))) | 1);

    /// <summary>No other's number: bits above those of three bytes.</summary>
    public static uint Middle(BlockMode mode, ulong rip, byte* bytes)
        => Mix(mode, rip, ((ulong)Unsafe.ReadUnaligned<ushort>(bytes) << 1) | ((ulong)bytes[2] << 17) | (1ul << 32));

    public static uint Short(BlockMode mode, ulong rip, byte* bytes) => Mix(mode, rip, (ulong)*bytes << 1);

    /// <param name="record">Its key is not set yet.</param>
    /// <param name="firstMasked">As <see cref="Relocations.FirstMasked"/>.</param>
    public static uint Of(BlockRecord* record, int firstMasked)
    {
        // Any RIP of the same kind.
        ulong rip = record->PageOffset | (record->Flags.HasFlag(RecordFlags.Short) ? 0 : 1ul << 40);
        byte* bytes = BlockRecord.GuestBytesOf(record);
        int certain = firstMasked < 0 ? record->DecodedLength : Math.Min(firstMasked, record->DecodedLength);
        return certain switch
        {
            >= LongBytes => Long(record->Mode, rip, bytes),
            >= MiddleBytes => Middle(record->Mode, rip, bytes),
            _ => Short(record->Mode, rip, bytes),
        };
    }

    private static uint Mix(BlockMode mode, ulong rip, ulong bytes)
    {
        ulong place = (rip & GuestMemory.PageMask) | ((ulong)mode << 12) | (Relocations.IsShort(rip) ? 1ul << 44 : 0);
        return (uint)(((place * GoldenRatio) ^ bytes) * GoldenRatio >> 32);
    }
}
