using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>Whether a template is what the translator would make.</summary>
internal static unsafe class TemplateMatch
{
    /// <summary>True if the record was made from the same bytes at the same place of a page, and can be moved to the source's RIP.</summary>
    public static bool Serves(BlockRecord* record, in CodeSource source, BlockMode mode)
        => record->Mode == mode && record->PageOffset == (source.Rip & GuestMemory.PageMask) && record->DecodedLength <= source.Length
            && Reaches(record, source.Rip) && SameBytes(record, source.Bytes);

    /// <summary>No RIP in the block wraps, needs a longer form, or is not canonical.</summary>
    private static bool Reaches(BlockRecord* record, ulong rip)
    {
        ulong lowest = rip + (ulong)(long)record->Lowest;
        ulong highest = rip + (ulong)(long)record->Highest;
        return lowest <= rip && highest >= rip && SoftwareVcpu.IsCanonical(lowest) && SoftwareVcpu.IsCanonical(highest)
            && (record->Flags.HasFlag(RecordFlags.Short)
                ? Relocations.IsShort(rip) && Relocations.IsShort(lowest) && Relocations.IsShort(highest)
                : !Relocations.IsShort(rip));
    }

    /// <summary>Compares in aligned words, so that what another processor changes by one aligned store is seen before or after it.</summary>
    private static bool SameBytes(BlockRecord* record, byte* bytes)
    {
        int misalignment = record->Misalignment;
        int words = record->GuestWords;
        var guest = (ulong*)(bytes - misalignment);
        ulong* wanted = BlockRecord.GuestOf(record);
        ulong mask = ulong.MaxValue << (misalignment * 8);
        for (int i = 0; i < words - 1; i++)
        {
            if (((Volatile.Read(ref guest[i]) ^ wanted[i]) & mask) != 0)
            {
                return false;
            }

            mask = ulong.MaxValue;
        }

        int beyond = (words * 8) - misalignment - record->DecodedLength;
        return ((Volatile.Read(ref guest[words - 1]) ^ wanted[words - 1]) & mask & (ulong.MaxValue >> (beyond * 8))) == 0;
    }
}
