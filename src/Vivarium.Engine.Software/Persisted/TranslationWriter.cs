using System.Numerics;
using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>Collects translations and writes them as a file, the ones used last first, as far as there is room.</summary>
internal sealed unsafe class TranslationWriter : IDisposable
{
    private const int BufferSize = 1 << 20;

    private readonly Identity _identity;
    private readonly ushort _run;
    private readonly long _limit;
    private readonly List<Entry> _entries = [];
    private readonly byte* _buffer = (byte*)NativeMemory.AlignedAlloc(BufferSize, 64);
    private int _filled;
    private long _written;

    /// <param name="identity">For the header.</param>
    /// <param name="run">Number of this run.</param>
    /// <param name="limit">Bytes that the file may have.</param>
    public TranslationWriter(Identity identity, ushort run, long limit)
    {
        _identity = identity;
        _run = run;
        _limit = limit;
    }

    private readonly struct Entry(nint record, nint code, ushort lastUsed, bool written)
    {
        public ushort LastUsed => lastUsed;

        /// <summary>As <see cref="Add"/> was told.</summary>
        public bool Written => written;

        public BlockRecord* Header => (BlockRecord*)record;

        public nint Code => code;
    }

    /// <param name="template">Stays where it is until <see cref="Write"/>.</param>
    /// <param name="lastUsed">In which run.</param>
    /// <param name="written">It comes from a file, so it needs no more work.</param>
    public void Add(in Template template, ushort lastUsed, bool written)
        => _entries.Add(new Entry((nint)template.Record, (nint)template.Code, lastUsed, written));

    /// <exception cref="IOException">The disk is full, or the like.</exception>
    public void Write(string path)
    {
        Choose();
        uint slotCount = BitOperations.RoundUpToPowerOf2((uint)Math.Max(_entries.Count, 8) * 2);
        var header = new TranslationHeader
        {
            Magic = TranslationHeader.ExpectedMagic,
            Version = TranslationHeader.ExpectedVersion,
            Identity = _identity,
            SlotCount = slotCount,
            EntryCount = (uint)_entries.Count,
            Run = _run,
        };
        foreach (Entry entry in _entries)
        {
            header.EntriesLength += TranslationFile.SizeOf(entry.Header);
        }

        header.Length = header.EntriesOffset + header.EntriesLength;
        ulong[] slots = Index(slotCount);
        var checksums = new uint[header.IndexPages];
        for (int page = 0; page < checksums.Length; page++)
        {
            checksums[page] = TranslationFile.ChecksumOf(TranslationFile.PageOf(slots, (uint)page));
        }

        header.Checksum = TranslationFile.ChecksumOf(header, checksums);

        using var file = OwnFile.Create(path);
        Put(file, new ReadOnlySpan<byte>(&header, sizeof(TranslationHeader)));
        PadTo(file, TranslationHeader.ChecksumsOffset);
        Put(file, MemoryMarshal.AsBytes<uint>(checksums));
        PadTo(file, header.SlotsOffset);
        Put(file, MemoryMarshal.AsBytes<ulong>(slots));
        PadTo(file, header.AgesOffset);
        foreach (Entry entry in _entries)
        {
            ushort lastUsed = entry.LastUsed;
            Put(file, new ReadOnlySpan<byte>(&lastUsed, sizeof(ushort)));
        }

        PadTo(file, header.EntriesOffset);
        foreach (Entry entry in _entries)
        {
            Put(file, entry);
        }

        Flush(file);
    }

    public void Dispose() => NativeMemory.AlignedFree(_buffer);

    /// <summary>Those used last come first, so that they are found first, and stay if not all can.</summary>
    private void Choose()
    {
        // By runs since; entries of one run stay in their order, which is that of first use.
        List<Entry> sorted = [.. _entries.OrderBy(entry => (ushort)(_run - entry.LastUsed))];
        _entries.Clear();
        long length = TranslationHeader.ChecksumsOffset + (4 * TranslationHeader.Alignment);
        Dictionary<uint, int> sameKey = new(sorted.Count);
        foreach (Entry entry in sorted)
        {
            // Up to four slots for each, with their part of a checksum, and an age.
            const int overhead = (4 * sizeof(ulong)) + 1 + sizeof(ushort);
            length += TranslationFile.SizeOf(entry.Header) + overhead;
            if (length > _limit)
            {
                return;
            }

            ref int count = ref CollectionsMarshal.GetValueRefOrAddDefault(sameKey, entry.Header->Key, out _);
            if (count++ < Templates.MostCandidates)
            {
                _entries.Add(entry);
            }
        }
    }

    private ulong[] Index(uint slotCount)
    {
        var slots = new ulong[slotCount];
        uint place = 0;
        foreach (Entry entry in _entries)
        {
            uint slot = entry.Header->Key & (slotCount - 1);
            while (slots[slot] != 0)
            {
                slot = (slot + 1) & (slotCount - 1);
            }

            slots[slot] = ((ulong)entry.Header->Key << 32) | (place + 1);
            place += (uint)(TranslationFile.SizeOf(entry.Header) / 8);
        }

        return slots;
    }

    private void Put(FileStream file, in Entry entry)
    {
        int size = (int)TranslationFile.SizeOf(entry.Header);
        if (BufferSize - _filled < size)
        {
            Flush(file);
        }

        byte* to = _buffer + _filled;
        var record = (BlockRecord*)to;
        int used = (int)entry.Header->Size + entry.Header->CodeLength;
        new ReadOnlySpan<byte>(entry.Header, (int)entry.Header->Size).CopyTo(new Span<byte>(to, size));
        new ReadOnlySpan<byte>((byte*)entry.Code, entry.Header->CodeLength).CopyTo(new Span<byte>(to + entry.Header->Size, entry.Header->CodeLength));
        new Span<byte>(to + used, size - used).Clear();
        if (!entry.Written)
        {
            ForgetPlace(record, to + record->Size);
            record->Checksum = TranslationFile.ChecksumOf(record);
        }

        _filled += size;
        _written += size;
    }

    /// <summary>Addresses of this run mean nothing to another, and tell nothing to who reads the file.</summary>
    private static void ForgetPlace(BlockRecord* record, byte* code)
    {
        Relocation* relocations = BlockRecord.RelocationsOf(record);
        for (int i = 0; i < record->RelocationCount; i++)
        {
            new Span<byte>(code + relocations[i].Offset, relocations[i].Width).Clear();
        }

        ushort* stubs = BlockRecord.StubsOf(record);
        for (int i = 0; i < record->StubCount; i += BlockRecord.StubNumbers)
        {
            *(int*)(code + stubs[i]) = 0;
        }
    }

    private void PadTo(FileStream file, long offset)
    {
        while (_written < offset)
        {
            Put(file, [0]);
        }
    }

    private void Put(FileStream file, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (_filled == BufferSize)
            {
                Flush(file);
            }

            int part = Math.Min(bytes.Length, BufferSize - _filled);
            bytes[..part].CopyTo(new Span<byte>(_buffer + _filled, part));
            bytes = bytes[part..];
            _filled += part;
            _written += part;
        }
    }

    private void Flush(FileStream file)
    {
        file.Write(new ReadOnlySpan<byte>(_buffer, _filled));
        _filled = 0;
    }
}
