using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>Makes a block by copying a template to where the translator would have put it.</summary>
internal sealed unsafe class Relocator(TranslationCache cache, TrapTable traps, BlockRecords records, InstructionForms forms)
{
    private readonly GuestCode _guest = new(forms, quick: false);

    /// <summary>Blocks that are copied from a file are to be templates in their turn, for <see cref="RelocationCheck"/>.</summary>
    public bool KeepsTemplates { get; init; }

    public Block Copy(in Template template, in CodeSource source, BlockMode mode)
    {
        BlockRecord* record = template.Record;
        byte* code = cache.Next;
        byte* to = cache.ToWritable(code);
        int length = record->CodeLength;
        new ReadOnlySpan<byte>(template.Code, length).CopyTo(new Span<byte>(to, length));

        ushort* stubs = BlockRecord.StubsOf(record);
        for (int i = 0; i < record->StubCount; i += BlockRecord.StubNumbers)
        {
            *(int*)(to + stubs[i]) = stubs[i + 1] - (stubs[i] + sizeof(int));
        }

        Relocation* relocation = BlockRecord.RelocationsOf(record);
        for (Relocation* end = relocation + record->RelocationCount; relocation < end; relocation++)
        {
            Apply(*relocation, to + relocation->Offset, template, source.Rip, mode, (int)(code - cache.Region.Executable));
        }

        return Block.Create(records, BlockKey.Of(source, mode), code, template.InFile ? Keep(record) : record);
    }

    /// <summary>A copy of what a block needs of a record in a file: without the guest's bytes and the relocations.</summary>
    private BlockRecord* Keep(BlockRecord* record)
    {
        BlockRecord header = *record;
        if (!KeepsTemplates)
        {
            header.Flags &= ~RecordFlags.Movable;
            header.RelocationCount = 0;
            header.Size = (uint)header.Measure();
        }

        var kept = (BlockRecord*)records.Allocate((int)header.Size);
        if (KeepsTemplates)
        {
            Buffer.MemoryCopy(record, kept, header.Size, header.Size);
            return kept;
        }

        *kept = header;
        long numbers = (header.MapCount + header.StubCount) * sizeof(ushort);
        Buffer.MemoryCopy(BlockRecord.MapOf(record), BlockRecord.MapOf(kept), numbers, numbers);
        return kept;
    }

    /// <param name="relocation">What to write.</param>
    /// <param name="field">Where (writable).</param>
    /// <param name="template">What is copied.</param>
    /// <param name="rip">The block's.</param>
    /// <param name="mode">The block's.</param>
    /// <param name="place">The block's, in the code region.</param>
    private void Apply(in Relocation relocation, byte* field, in Template template, ulong rip, BlockMode mode, int place)
    {
        ulong moved = rip + (ulong)(long)relocation.Addend;
        switch (relocation.Kind)
        {
            case RelocationKind.Rip64:
                *(ulong*)field = moved;
                break;
            case RelocationKind.Rip32:
                *(int*)field = (int)moved;
                break;
            case RelocationKind.JumpEntry:
                *(int*)field = NativeJumpCache.DisplacementOf(moved, mode.Space());
                break;
            case RelocationKind.JumpCode:
                *(int*)field = NativeJumpCache.DisplacementOf(moved, mode.Space()) + sizeof(ulong);
                break;
            case RelocationKind.Thunk:
                *(int*)field = relocation.Addend - (place + relocation.Offset + sizeof(int));
                break;
            case RelocationKind.Immediate:
                *(int*)field = *(int*)(template.Guest + relocation.Addend);
                break;
            case RelocationKind.FarOperand:
                *(int*)field = (int)relocation.TargetOf(rip, *(int*)(template.Guest + relocation.Masked));
                break;
            case RelocationKind.Trap:
                *(int*)field = AddTrap(template, moved, relocation.Addend);
                break;
        }
    }

    private int AddTrap(in Template template, ulong rip, int at)
    {
        _guest.Start(64, rip, template.Guest + at, template.Record->DecodedLength - at);
        _ = _guest.TryDecode();
        return traps.Add(_guest[0].Instruction);
    }
}
