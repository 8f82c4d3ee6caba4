using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>Whether a template is what the translator would make. For one thread at a time.</summary>
internal sealed unsafe class TemplateMatch
{
    /// <summary>A page, and room for its first word to be a part of one.</summary>
    private readonly ulong[] _copy = GC.AllocateUninitializedArray<ulong>(((int)GuestMemory.PageSize / sizeof(ulong)) + 1, pinned: true);

    /// <summary>
    /// The template, if its record was made from the same bytes (but for immediates that may be any) at the same place of a
    /// page, and can be moved to the source's RIP; else none.
    /// </summary>
    public Template Serve(BlockRecord* record, byte* code, in CodeSource source, BlockMode mode, bool inFile = false)
    {
        if (record->Mode != mode || record->PageOffset != (source.Rip & GuestMemory.PageMask) || record->DecodedLength > source.Length
            || !Reaches(record, source.Rip))
        {
            return default;
        }

        if (!record->Flags.HasFlag(RecordFlags.Masked))
        {
            return SameWords(record, source.Bytes) ? new Template(record, code, inFile) : default;
        }

        byte* guest = Copy(record, source.Bytes);
        return SameBytes(record, guest) && FarOperandsAreFar(record, source.Rip, guest) ? new Template(record, code, inFile, guest) : default;
    }

    /// <summary>True if the bytes are the record's, but for immediates that may be any.</summary>
    public static bool SameBytes(BlockRecord* record, byte* bytes)
    {
        byte* wanted = BlockRecord.GuestBytesOf(record);
        int same = 0;
        if (record->Flags.HasFlag(RecordFlags.Masked))
        {
            Relocation* relocation = BlockRecord.RelocationsOf(record);
            for (Relocation* end = relocation + record->RelocationCount; relocation < end; relocation++)
            {
                int masked = relocation->Masked;
                if (masked >= 0)
                {
                    // A record from a file may be damaged, which is looked for only where it is to be used.
                    if (masked > record->DecodedLength - sizeof(int) || !Same(bytes, wanted, same, masked))
                    {
                        return false;
                    }

                    same = masked + sizeof(int);
                }
            }
        }

        return Same(bytes, wanted, same, record->DecodedLength);
    }

    /// <summary>What is relative to RIP and may be any leads where it would be translated so. The bytes are the record's otherwise.</summary>
    private static bool FarOperandsAreFar(BlockRecord* record, ulong rip, byte* bytes)
    {
        Relocation* relocation = BlockRecord.RelocationsOf(record);
        for (Relocation* end = relocation + record->RelocationCount; relocation < end; relocation++)
        {
            if (relocation->Kind == RelocationKind.FarOperand && !Relocations.IsFarOperand(rip, relocation->TargetOf(rip, *(int*)(bytes + relocation->Masked))))
            {
                return false;
            }
        }

        return true;
    }

    private static bool Same(byte* bytes, byte* wanted, int from, int to)
        => to >= from && new ReadOnlySpan<byte>(bytes + from, to - from).SequenceEqual(new ReadOnlySpan<byte>(wanted + from, to - from));

    /// <summary>No RIP in the block wraps, needs a longer form, or is not canonical.</summary>
    private static bool Reaches(BlockRecord* record, ulong rip)
    {
        ulong lowest = rip + (ulong)(long)record->Lowest;
        ulong highest = rip + (ulong)(long)record->Highest;
        return lowest <= rip && highest >= rip
            && (record->Flags.HasFlag(RecordFlags.Short)
                ? Relocations.IsShort(rip) && Relocations.IsShort(lowest) && Relocations.IsShort(highest)
                : !Relocations.IsShort(rip) && SoftwareVcpu.IsCanonical(lowest) && SoftwareVcpu.IsCanonical(highest));
    }

    /// <summary>Compares in aligned words, so that what another processor changes by one aligned store is seen before or after it.</summary>
    private static bool SameWords(BlockRecord* record, byte* bytes)
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

    /// <summary>Copies the guest's bytes, in aligned words as well: what is compared is what is used.</summary>
    private byte* Copy(BlockRecord* record, byte* bytes)
    {
        int misalignment = record->Misalignment;
        var guest = (ulong*)(bytes - misalignment);
        var copy = (ulong*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_copy));
        for (int i = 0; i < record->GuestWords; i++)
        {
            copy[i] = Volatile.Read(ref guest[i]);
        }

        return (byte*)copy + misalignment;
    }
}
