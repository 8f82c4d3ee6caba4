using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// For tests: translates every movable block once more as if it stood elsewhere, and demands that a copy that was moved
/// there is the same to the last byte. What depends on RIP or place and is not noted comes to light so.
/// </summary>
internal sealed unsafe class RelocationCheck(TranslationCache cache, Translator translator, Relocator relocator)
{
    /// <summary>Changes an immediate, but not whether it <see cref="Relocations.MayBeKernelAddress"/>.</summary>
    private const int OtherImmediate = 0x0012_3456;

    private readonly TemplateMatch _match = new();
    private readonly byte[] _page = GC.AllocateUninitializedArray<byte>((int)GuestMemory.PageSize * 2, pinned: true);

    /// <param name="block">Published, so that another would stand elsewhere in the code region.</param>
    /// <exception cref="InvalidOperationException">They differ.</exception>
    public void Check(Block block, in CodeSource source, BlockMode mode)
    {
        BlockRecord* record = block.Record;
        if (record->PageOffset + record->DecodedLength > (int)GuestMemory.PageSize - GuestCode.MaxInstructionBytes)
        {
            // An instruction that the page cut off has ended the block, and where the copy stands the page may hold a whole
            // one: a copy that ends too early is right.
            return;
        }

        foreach (ulong rip in (ReadOnlySpan<ulong>)[source.Rip + 0x0123_4000, source.Rip - 0x3000, source.Rip + 0x0321_7654_3000, source.Rip ^ 0x4000_0000_0000])
        {
            CodeSource moved = Elsewhere(record, source, rip);
            Template template = _match.Serve(record, block.Code, moved, mode);
            if (!template.Exists)
            {
                continue;
            }

            Block anew = translator.Translate(moved, mode);
            byte[] wanted = [.. new ReadOnlySpan<byte>(cache.ToWritable(anew.Code), anew.CodeLength)];
            Block copy = relocator.Copy(template, moved, mode);
            var got = new ReadOnlySpan<byte>(cache.ToWritable(copy.Code), copy.CodeLength);
            Compare(block, anew, wanted, got, rip);
        }
    }

    /// <summary>The same bytes, which nobody else writes, at another RIP.</summary>
    private CodeSource Elsewhere(BlockRecord* record, in CodeSource source, ulong rip)
    {
        fixed (byte* buffer = _page)
        {
            byte* page = buffer + (-(nint)buffer & (nint)GuestMemory.PageMask);
            byte* bytes = page + record->PageOffset;
            new ReadOnlySpan<byte>(source.Bytes, source.Length).CopyTo(new Span<byte>(bytes, source.Length));
            new ReadOnlySpan<byte>(BlockRecord.GuestBytesOf(record), record->DecodedLength).CopyTo(new Span<byte>(bytes, record->DecodedLength));
            for (int i = 0; i < record->RelocationCount; i++)
            {
                Relocation relocation = BlockRecord.RelocationsOf(record)[i];
                if (relocation.Kind == RelocationKind.Immediate)
                {
                    *(int*)(bytes + relocation.Addend) ^= OtherImmediate;
                }
                else if (relocation.Kind == RelocationKind.FarOperand)
                {
                    // As a kernel does: where it led, and a bit beside.
                    int* displacement = (int*)(bytes + relocation.Masked);
                    *displacement = (int)((relocation.TargetOf(source.Rip, *displacement) ^ OtherImmediate) - relocation.TargetOf(rip, 0));
                }
            }

            return new CodeSource
            {
                Rip = rip,
                Linear = rip,
                Gpa = source.Gpa ^ 0x5000,
                Bytes = bytes,
                Length = source.Length,
                CodeLimit = source.CodeLimit,
                SecondPage = Block.NoPage,
            };
        }
    }

    private void Compare(Block block, Block anew, byte[] wanted, ReadOnlySpan<byte> got, ulong rip)
    {
        Demand(anew.Record->GuestLength == block.GuestLength && wanted.Length == got.Length, "another length", block, rip);
        Demand(anew.Map.SequenceEqual(block.Map) && anew.JumpStubs.SequenceEqual(block.JumpStubs), "another map", block, rip);
        var relocations = new ReadOnlySpan<Relocation>(BlockRecord.RelocationsOf(block.Record), block.Record->RelocationCount);
        Demand(relocations.SequenceEqual(new(BlockRecord.RelocationsOf(anew.Record), anew.Record->RelocationCount)), "other relocations", block, rip);
        foreach (Relocation relocation in relocations)
        {
            if (relocation.Kind == RelocationKind.Trap)
            {
                Span<byte> field = wanted.AsSpan(relocation.Offset, sizeof(int));
                ReadOnlySpan<byte> other = got.Slice(relocation.Offset, sizeof(int));
                TrapTable traps = translator.Traps;
                Demand(Instruction.EqualsAllBits(traps[BitConverter.ToInt32(field)], traps[BitConverter.ToInt32(other)]), "another trapped instruction", block, rip);
                other.CopyTo(field);
            }
        }

        int same = got.CommonPrefixLength(wanted);
        Demand(same == got.Length, $"another byte at {same:x}", block, rip);
    }

    private static void Demand(bool condition, string difference, Block block, ulong rip)
    {
        if (!condition)
        {
            var bytes = new ReadOnlySpan<byte>(BlockRecord.GuestBytesOf(block.Record), block.GuestLength);
            throw new InvalidOperationException($"moved to {rip:x}, the block {Convert.ToHexString(bytes)} of {block.Key.Rip:x} has {difference}");
        }
    }
}
