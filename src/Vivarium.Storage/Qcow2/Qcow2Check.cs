using System.Buffers.Binary;
using Vivarium.Storage.Host;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Counts the references to every cluster of an image, as its tables have them, and compares them with the refcounts that it
/// records. Works on damaged images: what makes no sense is counted and passed over.
/// </summary>
internal sealed unsafe class Qcow2Check
{
    private const int MaxFindings = 20;
    private const int SliceSize = 4096;
    private const int CachedSlices = 1024;
    private const ulong BlockReserved = 0x1FF;

    private readonly HostFile _file;
    private readonly Qcow2Header _header;
    private readonly long _fileEnd;
    private readonly ReferenceMap _references = new();
    private readonly List<string> _findings = [];
    private long _corruptions;
    private long _leaks;
    private long _allocated;
    private long _compressed;

    private Qcow2Check(HostFile file, Qcow2Header header)
    {
        _file = file;
        _header = header;
        _fileEnd = (file.Length + header.ClusterSize - 1) & -(long)header.ClusterSize;
    }

    private int ClusterBits => _header.ClusterBits;

    private int ClusterSize => _header.ClusterSize;

    /// <summary>Checks an image, and repairs it if asked to; what is repaired, is checked again.</summary>
    /// <exception cref="DiskImageException">The image is too damaged to be looked at, or has what cannot be checked.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static CheckReport Run(HostFile file, Qcow2Header header, bool repair)
    {
        CheckReport found = new Qcow2Check(file, header).Examine();
        if (!repair || (found.IsClean && !header.IsDirty && !header.IsCorrupt))
        {
            return found;
        }

        var counting = new Qcow2Check(file, header);
        counting.Count();
        counting.Rebuild();
        counting.CorrectCopiedFlags();
        CheckReport left = new Qcow2Check(file, header).Examine();
        ulong marks = header.IncompatibleFeatures & ~Qcow2Header.IncompatibleDirty;
        if (left.Corruptions == 0)
        {
            marks &= ~Qcow2Header.IncompatibleCorrupt;
        }

        if (marks != header.IncompatibleFeatures)
        {
            header.UpdateIncompatibleFeatures(file, marks);
        }

        file.Flush();
        return left with
        {
            CorruptionsRepaired = Math.Max(0, found.Corruptions - left.Corruptions),
            LeaksRepaired = Math.Max(0, found.Leaks - left.Leaks),
            Findings = found.Findings,
        };
    }

    /// <summary>Counts anew what lazy refcounts left behind when the image was not closed.</summary>
    /// <exception cref="IOException">The image is malformed, or the host fails.</exception>
    public static void RepairDirty(HostFile file, Qcow2Header header)
    {
        var check = new Qcow2Check(file, header);
        check.Count();
        if (check._corruptions > 0)
        {
            throw new DiskImageException($"{file.Path} was not closed, and is damaged ({check._findings[0]}); look at it with: viv disk check {file.Path}");
        }

        check.Rebuild();
        header.UpdateIncompatibleFeatures(file, header.IncompatibleFeatures & ~Qcow2Header.IncompatibleDirty);
        file.Flush();
    }

    private CheckReport Examine()
    {
        Count();
        ulong[] blocks = CountRefcountStructures();
        using var cache = new TableCache(_file, Math.Min(SliceSize, ClusterSize), CachedSlices);
        CompareBlocks(blocks);
        CompareUncounted(blocks);
        CheckCopiedFlags(blocks, cache);
        return new CheckReport
        {
            Corruptions = _corruptions,
            Leaks = _leaks,
            AllocatedClusters = _allocated,
            CompressedClusters = _compressed,
            TotalClusters = (_header.Size + ClusterSize - 1) >> ClusterBits,
            Findings = _findings,
        };
    }

    /// <summary>Counts all references but those of the refcount structures themselves.</summary>
    private void Count()
    {
        _references.Add(0);
        CountTree(_header.L1TableOffset, _header.L1Size, isActive: true);
        if (_header.SnapshotCount > 0)
        {
            SnapshotTable snapshots = SnapshotTable.Read(_file, _header);
            _references.AddRange(_header.SnapshotsOffset, snapshots.Length, ClusterBits);
            var seen = new HashSet<long> { _header.L1TableOffset };
            foreach (SnapshotTable.Entry snapshot in snapshots.Entries)
            {
                if (snapshot.L1Size > 0 && !seen.Add(snapshot.L1Offset))
                {
                    Corruption($"snapshot {snapshot.Description.Id} has the L1 table of another one");
                    continue;
                }

                CountTree(snapshot.L1Offset, snapshot.L1Size, isActive: false);
            }
        }

        CountBitmaps();
    }

    private void CountTree(long l1Offset, int l1Size, bool isActive)
    {
        _references.AddRange(l1Offset, (long)l1Size * sizeof(ulong), ClusterBits);
        ulong[] l1 = BigEndianTable.Read(_file, l1Offset, l1Size);
        var table = new ulong[ClusterSize / sizeof(ulong)];
        var seen = new HashSet<long>();
        for (int i = 0; i < l1.Length; i++)
        {
            long offset = (long)(l1[i] & L2Entry.OffsetMask);
            if (offset == 0)
            {
                continue;
            }

            if (!IsCluster(offset))
            {
                Corruption($"entry {i} of the L1 table at byte {l1Offset} is {l1[i]:X}, which is no place for an L2 table");
                continue;
            }

            _references.Add(offset >> ClusterBits);
            if (!seen.Add(offset))
            {
                Corruption($"entry {i} of the L1 table at byte {l1Offset} repeats another one");
                continue;
            }

            BigEndianTable.Read(_file, offset, table);
            for (int j = 0; j < table.Length; j++)
            {
                if (table[j] != 0)
                {
                    CountEntry(table[j], ((long)i * table.Length) + j, isActive);
                }
            }
        }
    }

    private void CountEntry(ulong entry, long cluster, bool isActive)
    {
        ClusterKind kind = L2Entry.Kind(entry, _header.Version);
        if (kind == ClusterKind.Compressed)
        {
            (long offset, int length) = L2Entry.CompressedRange(entry, ClusterBits);
            if (offset < ClusterSize || offset > _fileEnd - length)
            {
                Corruption($"cluster {cluster} of the disk is compressed at byte {offset}, outside of the file's data");
                return;
            }

            if ((entry & L2Entry.Copied) != 0)
            {
                Corruption($"cluster {cluster} of the disk is compressed and yet marked as writable in place");
            }

            _references.AddRange(offset, length, ClusterBits);
            _compressed += isActive ? 1 : 0;
        }
        else
        {
            long offset = (long)(entry & L2Entry.OffsetMask);
            if (offset == 0)
            {
                return;
            }

            if (!IsCluster(offset))
            {
                Corruption($"cluster {cluster} of the disk is said to be at byte {offset}, which is no cluster of the file");
                return;
            }

            _references.Add(offset >> ClusterBits);
        }

        _allocated += isActive ? 1 : 0;
    }

    /// <summary>Persistent bitmaps (qcow2.txt, "Bitmaps"): directory, tables, data.</summary>
    private void CountBitmaps()
    {
        const int EntryLength = 24;
        if (_header.BitmapCount == 0)
        {
            return;
        }

        if (!IsCluster(_header.BitmapDirectoryOffset) || _header.BitmapDirectoryLength > Qcow2Header.MaxL1Bytes || _header.BitmapDirectoryOffset > _fileEnd - _header.BitmapDirectoryLength)
        {
            Corruption("the bitmap directory lies outside of the file");
            return;
        }

        _references.AddRange(_header.BitmapDirectoryOffset, _header.BitmapDirectoryLength, ClusterBits);
        byte[] directory = new byte[_header.BitmapDirectoryLength];
        _file.Read(_header.BitmapDirectoryOffset, directory);
        ReadOnlySpan<byte> rest = directory;
        while (rest.Length >= EntryLength)
        {
            long tableOffset = BinaryPrimitives.ReadInt64BigEndian(rest);
            long tableBytes = (long)BinaryPrimitives.ReadUInt32BigEndian(rest[8..]) * sizeof(ulong);
            long entryLength = (EntryLength + (long)BinaryPrimitives.ReadUInt16BigEndian(rest[18..]) + BinaryPrimitives.ReadUInt32BigEndian(rest[20..]) + 7) & ~7L;
            if (entryLength > rest.Length || !IsCluster(tableOffset) || tableBytes > Qcow2Header.MaxL1Bytes || tableOffset > _fileEnd - tableBytes)
            {
                Corruption("an entry of the bitmap directory makes no sense");
                return;
            }

            _references.AddRange(tableOffset, tableBytes, ClusterBits);
            foreach (ulong entry in BigEndianTable.Read(_file, tableOffset, tableBytes / sizeof(ulong)))
            {
                long offset = (long)(entry & L2Entry.OffsetMask);
                if (offset != 0 && IsCluster(offset))
                {
                    _references.Add(offset >> ClusterBits);
                }
            }

            rest = rest[(int)entryLength..];
        }
    }

    /// <summary>Counts the references of refcount table and blocks.</summary>
    /// <returns>The table, with 0 for entries that make no sense.</returns>
    private ulong[] CountRefcountStructures()
    {
        long length = (long)_header.RefcountTableClusters << ClusterBits;
        _references.AddRange(_header.RefcountTableOffset, length, ClusterBits);
        ulong[] blocks = BigEndianTable.Read(_file, _header.RefcountTableOffset, length / sizeof(ulong));
        var seen = new HashSet<ulong>();
        for (int i = 0; i < blocks.Length; i++)
        {
            if (blocks[i] == 0)
            {
                continue;
            }

            if ((blocks[i] & BlockReserved) != 0 || blocks[i] >= (ulong)_fileEnd || !IsCluster((long)blocks[i]) || !seen.Add(blocks[i]))
            {
                Corruption($"entry {i} of the refcount table is {blocks[i]:X}, which is no place for a block of refcounts");
                blocks[i] = 0;
                continue;
            }

            _references.Add((long)blocks[i] >> ClusterBits);
        }

        return blocks;
    }

    private void CompareBlocks(ulong[] blocks)
    {
        int order = _header.RefcountOrder;
        int perBlock = (int)((long)ClusterSize << 3 >> order);
        byte[] block = new byte[ClusterSize];
        for (int i = 0; i < blocks.Length; i++)
        {
            if (blocks[i] == 0)
            {
                continue;
            }

            _file.Read((long)blocks[i], block);
            fixed (byte* pointer = block)
            {
                for (int entry = 0; entry < perBlock; entry++)
                {
                    long cluster = ((long)i * perBlock) + entry;
                    Compare(cluster, RefcountEntry.Read(pointer, entry, order), _references[cluster]);
                }
            }
        }
    }

    /// <summary>Clusters in use that no block counts.</summary>
    private void CompareUncounted(ulong[] blocks)
    {
        int blockBits = ClusterBits + 3 - _header.RefcountOrder;
        foreach ((long cluster, uint count) in _references.All())
        {
            long block = cluster >> blockBits;
            if (block >= blocks.Length || blocks[block] == 0)
            {
                Compare(cluster, 0, count);
            }
        }
    }

    private void Compare(long cluster, ulong recorded, uint counted)
    {
        if (recorded == counted)
        {
            return;
        }

        if (recorded > counted)
        {
            _leaks++;
            Find($"cluster {cluster} is leaked: refcount {recorded}, references {counted}");
        }
        else
        {
            Corruption($"cluster {cluster} has refcount {recorded}, but {counted} references");
        }
    }

    /// <summary>The mark "writable in place" must mean a refcount of 1, in the active tables.</summary>
    private void CheckCopiedFlags(ulong[] blocks, TableCache cache) =>
        WalkCopiedFlags(cluster => RecordedRefcount(blocks, cache, cluster), correct: false);

    private void CorrectCopiedFlags()
    {
        WalkCopiedFlags(cluster => _references[cluster], correct: true);
        _file.Flush();
    }

    private void WalkCopiedFlags(Func<long, ulong> refcount, bool correct)
    {
        ulong[] l1 = BigEndianTable.Read(_file, _header.L1TableOffset, _header.L1Size);
        var table = new ulong[ClusterSize / sizeof(ulong)];
        var seen = new HashSet<long>();
        for (int i = 0; i < l1.Length; i++)
        {
            long offset = (long)(l1[i] & L2Entry.OffsetMask);
            if (offset == 0 || !IsCluster(offset) || !seen.Add(offset))
            {
                continue;
            }

            if (IsWrongFlag(l1[i], refcount(offset >> ClusterBits)))
            {
                Corruption($"entry {i} of the L1 table has the wrong mark about writing in place");
                if (correct)
                {
                    BigEndianTable.WriteEntry(_file, _header.L1TableOffset, i, l1[i] ^ L2Entry.Copied);
                }
            }

            BigEndianTable.Read(_file, offset, table);
            for (int j = 0; j < table.Length; j++)
            {
                long data = (long)(table[j] & L2Entry.OffsetMask);
                bool isCompressed = (table[j] & L2Entry.Compressed) != 0;
                bool isWrong = isCompressed
                    ? correct && (table[j] & L2Entry.Copied) != 0
                    : data != 0 && IsCluster(data) && IsWrongFlag(table[j], refcount(data >> ClusterBits));
                if (isWrong)
                {
                    Corruption($"cluster {((long)i * table.Length) + j} of the disk has the wrong mark about writing in place");
                    if (correct)
                    {
                        BigEndianTable.WriteEntry(_file, offset, j, table[j] ^ L2Entry.Copied);
                    }
                }
            }
        }
    }

    private static bool IsWrongFlag(ulong entry, ulong refcount) => ((entry & L2Entry.Copied) != 0) != (refcount == 1);

    private ulong RecordedRefcount(ulong[] blocks, TableCache cache, long cluster)
    {
        int blockBits = ClusterBits + 3 - _header.RefcountOrder;
        long block = cluster >> blockBits;
        if (block >= blocks.Length || blocks[block] == 0)
        {
            return 0;
        }

        int sliceBits = System.Numerics.BitOperations.Log2((uint)cache.SliceSize) + 3 - _header.RefcountOrder;
        long inBlock = cluster & ((1L << blockBits) - 1);
        byte* slice = cache.Data(cache.Get((long)blocks[block] + ((inBlock >> sliceBits) * cache.SliceSize)));
        return RefcountEntry.Read(slice, (int)(inBlock & ((1L << sliceBits) - 1)), _header.RefcountOrder);
    }

    /// <summary>Writes new refcount structures past everything that there is, then makes the header name them.</summary>
    private void Rebuild()
    {
        long firstFree = Math.Max(_references.End, _fileEnd >> ClusterBits);
        RefcountBuilder.Build(_file, _header, _references, firstFree);
        _file.Flush();
        _header.UpdateRefcountTable(_file);
        _file.Flush();
    }

    /// <summary>Whether the file has a cluster there, past the header.</summary>
    private bool IsCluster(long offset) => offset >= ClusterSize && offset < _fileEnd && (offset & (ClusterSize - 1)) == 0;

    private void Corruption(string what)
    {
        _corruptions++;
        Find(what);
    }

    private void Find(string what)
    {
        if (_findings.Count < MaxFindings)
        {
            _findings.Add(what);
        }
    }
}
