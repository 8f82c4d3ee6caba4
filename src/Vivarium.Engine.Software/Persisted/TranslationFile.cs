using System.IO.Hashing;
using System.Numerics;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// A file of translations: its index mapped, its entries read when they are looked up. It holds code that will run, so it is believed only
/// if it is the user's own; and every number in it is checked before it is used, because disks and programs have faults. For one thread at a time.
/// </summary>
internal sealed unsafe class TranslationFile : IDisposable
{
    private const int EntryAlignment = 8;

    private readonly byte* _file;
    private readonly long _length;
    private readonly TranslationHeader _header;
    private readonly byte* _entries;
    private readonly ulong* _slots;

    /// <summary>One bit for each page of the index: its checksum was right.</summary>
    private readonly ulong[] _sound;

    private readonly TemplateMatch _match = new();

    /// <summary>One bit for every possible beginning of an entry: those that were used.</summary>
    private readonly ulong[] _used;

    private readonly FileWindows _windows;

    private TranslationFile(byte* file, FileWindows windows, in TranslationHeader header, in LinuxHost.FileStatus status)
    {
        _file = file;
        _length = status.Size;
        _header = header;
        _entries = file + header.EntriesOffset;
        _slots = (ulong*)(file + header.SlotsOffset);
        _sound = new ulong[(header.IndexPages / 64) + 1];
        _used = new ulong[(header.EntriesLength / EntryAlignment / 64) + 1];
        _windows = windows;
        Inode = (status.Device, status.Inode);
    }

    /// <summary>Which file it is.</summary>
    public (ulong Device, ulong Number) Inode { get; }

    public int Count => (int)_header.EntryCount;

    public ushort Run => _header.Run;

    /// <summary>What is wrong with an entry that was met: the file is not to be used any more.</summary>
    public string? Damage { get; private set; }

    /// <summary>Maps a file; null if it is not there, or <paramref name="refusal"/> says why it is not used.</summary>
    public static TranslationFile? Open(string path, Identity identity, out string? refusal)
    {
        int fd = OwnFile.Open(path, LinuxHost.OpenReadOnly, out LinuxHost.FileStatus status, out refusal);
        if (fd < 0)
        {
            return null;
        }

        void* file = status.Size >= TranslationHeader.ChecksumsOffset
            ? LinuxHost.Mmap(null, (nuint)status.Size, LinuxHost.ProtRead, LinuxHost.MapPrivate, fd, 0)
            : (void*)-1;
        bool mapped = file != (void*)-1;
        refusal = mapped ? Check((byte*)file, status.Size, identity) : "is damaged (too short)";
        if (refusal is null)
        {
            return new TranslationFile((byte*)file, new FileWindows(fd, status.Size), *(TranslationHeader*)file, status);
        }

        if (mapped)
        {
            _ = LinuxHost.Munmap(file, (nuint)status.Size);
        }

        _ = LinuxHost.Close(fd);
        return null;
    }

    /// <summary>A translation of the same bytes, or none.</summary>
    public Template Find(in TemplateKeys keys, in CodeSource source, BlockMode mode)
    {
        if (Damage is not null)
        {
            return default;
        }

        for (int i = 0; i < TemplateKeys.Count; i++)
        {
            if (Find(keys[i], source, mode) is { Exists: true } found)
            {
                return found;
            }
        }

        return default;
    }

    /// <summary>True if it holds a translation of the same bytes.</summary>
    public bool Contains(BlockRecord* wanted)
    {
        uint mask = _header.SlotCount - 1;
        for (uint slot = wanted->Key & mask, probes = 0; probes <= mask && SlotAt(slot) is not 0 and ulong content; slot = (slot + 1) & mask, probes++)
        {
            if ((uint)(content >> 32) == wanted->Key && MappedAt(((long)(uint)content - 1) * EntryAlignment) is var record && record != null
                && record->Mode == wanted->Mode && record->PageOffset == wanted->PageOffset && record->Flags == wanted->Flags
                && record->DecodedLength == wanted->DecodedLength
                && IsSound(record) && TemplateMatch.SameBytes(record, BlockRecord.GuestBytesOf(wanted)))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Walks over all entries; stops at one that is damaged.</summary>
    /// <param name="visit">Is given the entry, the run that used it last, and whether this one has.</param>
    public void ForEach(Visitor visit)
    {
        var ages = (ushort*)(_file + _header.AgesOffset);
        long offset = 0;
        for (int i = 0; i < _header.EntryCount; i++)
        {
            BlockRecord* record = MappedAt(offset);
            if (record == null)
            {
                return;
            }

            visit(new Template(record, (byte*)record + record->Size), ages[i], WasUsed(offset));
            offset += SizeOf(record);
        }
    }

    public delegate void Visitor(in Template template, ushort lastUsed, bool used);

    /// <summary>Bytes that a translation takes in a file.</summary>
    public static long SizeOf(BlockRecord* record) => (record->Size + record->CodeLength + (long)EntryAlignment - 1) & -EntryAlignment;

    /// <summary>Over everything but the checksum itself.</summary>
    public static uint ChecksumOf(BlockRecord* record)
        => (uint)XxHash3.HashToUInt64(new ReadOnlySpan<byte>((byte*)record + sizeof(uint), (int)record->Size + record->CodeLength - sizeof(uint)));

    /// <param name="pages">The checksums of the index's pages.</param>
    public static uint ChecksumOf(in TranslationHeader header, ReadOnlySpan<uint> pages)
    {
        TranslationHeader copy = header;
        copy.Checksum = 0;
        var hash = new XxHash3();
        hash.Append(new ReadOnlySpan<byte>(&copy, sizeof(TranslationHeader)));
        hash.Append(MemoryMarshal.AsBytes(pages));
        return (uint)hash.GetCurrentHashAsUInt64();
    }

    /// <summary>Of a page of the index.</summary>
    public static uint ChecksumOf(ReadOnlySpan<ulong> page) => (uint)XxHash3.HashToUInt64(MemoryMarshal.AsBytes(page));

    /// <summary>A page of the index.</summary>
    public static ReadOnlySpan<ulong> PageOf(ReadOnlySpan<ulong> slots, uint page)
        => slots.Slice((int)(page * TranslationHeader.SlotsInPage), (int)Math.Min(TranslationHeader.SlotsInPage, (uint)slots.Length));

    /// <summary>The process holds nothing of the file any more, until it is read again.</summary>
    public void Release()
    {
        if (_windows.HoldsAny)
        {
            _windows.Release();
            _ = LinuxHost.Madvise(_file, (nuint)_length, LinuxHost.MadvDontNeed);
        }
    }

    public void Dispose()
    {
        _windows.Dispose();
        _ = LinuxHost.Munmap(_file, (nuint)_length);
    }

    private static string? Check(byte* file, long length, Identity identity)
    {
        const long most = 1L << 31;
        var header = *(TranslationHeader*)file;
        if (header.Magic != TranslationHeader.ExpectedMagic)
        {
            return "is no file of translations";
        }

        if (header.Version != TranslationHeader.ExpectedVersion || header.Identity != identity)
        {
            return "was made by another version of the engine or for another processor";
        }

        if (length > most || header.Length != length || !BitOperations.IsPow2(header.SlotCount) || header.EntryCount > header.SlotCount / 2
            || header.EntriesLength < 0 || header.EntriesLength > length || header.EntriesOffset + header.EntriesLength != length)
        {
            return "is damaged (its parts do not add up)";
        }

        return ChecksumOf(header, PageChecksums(file, header)) == header.Checksum ? null : "is damaged (its header)";
    }

    private static ReadOnlySpan<uint> PageChecksums(byte* file, in TranslationHeader header) => new(file + TranslationHeader.ChecksumsOffset, (int)header.IndexPages);

    /// <summary>A slot of the index, whose page is checked when it is first looked at; 0 if that is damaged.</summary>
    private ulong SlotAt(uint slot)
    {
        uint page = slot / TranslationHeader.SlotsInPage;
        return (_sound[page / 64] >> (int)(page % 64) & 1) != 0 || IsPageSound(page) ? _slots[slot] : 0;
    }

    private bool IsPageSound(uint page)
    {
        if (ChecksumOf(PageOf(new ReadOnlySpan<ulong>(_slots, (int)_header.SlotCount), page)) != PageChecksums(_file, _header)[(int)page])
        {
            Damage = "is damaged (its index)";
            return false;
        }

        _sound[page / 64] |= 1ul << (int)(page % 64);
        return true;
    }

    private Template Find(uint key, in CodeSource source, BlockMode mode)
    {
        int candidates = 0;
        uint mask = _header.SlotCount - 1;
        for (uint slot = key & mask, probes = 0; candidates < Templates.MostCandidates && probes <= mask && SlotAt(slot) is not 0 and ulong content; slot = (slot + 1) & mask, probes++)
        {
            if ((uint)(content >> 32) != key)
            {
                continue;
            }

            candidates++;
            long offset = ((long)(uint)content - 1) * EntryAlignment;
            BlockRecord* record = ReadAt(offset);
            if (record == null)
            {
                return default;
            }

            // What is looked at here lies within the entry; the whole of it is checked only where it would be used.
            Template template = _match.Serve(record, (byte*)record + record->Size, source, mode, inFile: true);
            if (!template.Exists)
            {
                continue;
            }

            if (!IsSound(record))
            {
                Damage = $"is damaged (an entry at {offset + _header.EntriesOffset})";
                return default;
            }

            _used[offset / EntryAlignment / 64] |= 1ul << (int)(offset / EntryAlignment % 64);
            return template;
        }

        return default;
    }

    /// <summary>The entry at an offset, read, if its parts lie within the file; else null, and there is <see cref="Damage"/>.</summary>
    private BlockRecord* ReadAt(long offset)
    {
        if (offset < 0 || offset > _header.EntriesLength - sizeof(BlockRecord))
        {
            return Damaged(offset);
        }

        var record = (BlockRecord*)_windows.At(_header.EntriesOffset + offset, out long available);
        return record == null ? Damaged(offset)
            : IsWithin(record, available) ? record
            : MappedAt(offset);
    }

    /// <summary>The same, where the file is mapped.</summary>
    private BlockRecord* MappedAt(long offset)
    {
        var record = (BlockRecord*)(_entries + offset);
        return offset >= 0 && IsWithin(record, _header.EntriesLength - offset) ? record : Damaged(offset);
    }

    private BlockRecord* Damaged(long offset)
    {
        Damage = $"is damaged (an entry at {offset + _header.EntriesOffset})";
        return null;
    }

    private static bool IsWithin(BlockRecord* record, long available)
        => available >= sizeof(BlockRecord)
            && record->Flags.HasFlag(RecordFlags.Movable) && record->DecodedLength > 0 && record->Size == record->Measure()
            && SizeOf(record) <= available;

    /// <summary>The whole entry is as it was written, and nothing in it points out of the code or the guest's bytes.</summary>
    private static bool IsSound(BlockRecord* record)
    {
        if (ChecksumOf(record) != record->Checksum || record->GuestLength > record->DecodedLength || (record->MapCount & 1) != 0 || record->StubCount % BlockRecord.StubNumbers != 0)
        {
            return false;
        }

        Relocation* relocations = BlockRecord.RelocationsOf(record);
        for (int i = 0; i < record->RelocationCount; i++)
        {
            Relocation relocation = relocations[i];
            int guestBytes = relocation.Kind switch
            {
                RelocationKind.Immediate or RelocationKind.FarOperand => sizeof(int),
                RelocationKind.Trap => 1,
                _ => 0,
            };
            int at = relocation.Kind == RelocationKind.Trap ? relocation.Addend : relocation.Masked;
            if (relocation.Offset + relocation.Width > record->CodeLength || (guestBytes != 0 && (at < 0 || at > record->DecodedLength - guestBytes)))
            {
                return false;
            }
        }

        ushort* stubs = BlockRecord.StubsOf(record);
        for (int i = 0; i < record->StubCount; i += BlockRecord.StubNumbers)
        {
            if (stubs[i] + sizeof(int) > record->CodeLength || stubs[i + 1] >= record->CodeLength)
            {
                return false;
            }
        }

        return true;
    }

    private bool WasUsed(long offset) => (_used[offset / EntryAlignment / 64] >> (int)(offset / EntryAlignment % 64) & 1) != 0;
}
