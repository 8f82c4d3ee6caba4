using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <content>How changed metadata reaches the file.</content>
internal sealed unsafe partial class Qcow2Image
{
    /// <summary>Whether so much metadata is changed that a writer should write it back before it changes more.</summary>
    private bool IsCrowded => _map.Slices.IsCrowded || _refcounts!.IsCrowded || _refcounts.Freed.Count > MaxFreed;

    private const int MaxFreed = 1 << 16;

    /// <summary>Whether refcounts may be wrong in the file while it is open, since the dirty bit says so.</summary>
    private bool IsLazy => _header.HasLazyRefcounts;

    /// <summary>
    /// Makes all data and metadata durable. Requests go on meanwhile: the lock is held to write refcounts into the host's
    /// page cache and to copy the changed mapping, not while the disk works.
    /// </summary>
    private void WriteBack()
    {
        lock (_writeBackGate)
        {
            TableUpdate? table;
            List<int> l1Indexes;
            ulong[] l1Entries;
            List<FreedRange> freed;
            lock (_gate)
            {
                if (_file.Length < _refcounts!.FileEnd && !_file.IsBlockDevice)
                {
                    _file.SetLength(_refcounts.FileEnd);
                }

                // Lazy refcounts may stay behind, as long as there is room for them here and the header's table is in place.
                table = null;
                if (!IsLazy || _refcounts.IsCrowded || _refcounts.IsTableMoved)
                {
                    _refcounts.WriteBlocks();
                    table = _refcounts.TakeTableUpdate();
                }

                _copies.Clear();
                _map.Slices.Lend(_copies);
                l1Indexes = _map.TakeChangedL1();
                l1Entries = l1Indexes.Count == 0 ? [] : [.. l1Indexes.Select(_map.L1)];
                freed = _refcounts.TakeFreed();
            }

            bool tableWritten = table is null;
            bool written = false;
            try
            {
                Barrier();
                if (table is not null)
                {
                    table.WriteTo(_file, needsBarriers: !_isVolatile);
                    tableWritten = true;
                    Barrier();
                }

                if (_copies.Slots.Count > 0 || l1Indexes.Count > 0)
                {
                    _copies.WriteTo(_file);
                    if (l1Indexes.Count > 0)
                    {
                        Barrier();
                        for (int i = 0; i < l1Indexes.Count; i++)
                        {
                            BigEndianTable.WriteEntry(_file, _header.L1TableOffset, l1Indexes[i], l1Entries[i]);
                        }
                    }

                    Barrier();
                }

                written = true;
            }
            finally
            {
                lock (_gate)
                {
                    _map.Slices.Settle(_copies, written);
                    if (written)
                    {
                        _unmapped.AddRange(freed);
                        DropUnmapped();
                    }
                    else
                    {
                        _map.ChangedL1.AddRange(l1Indexes);
                        _refcounts.Freed.AddRange(freed);
                        if (!tableWritten)
                        {
                            _refcounts.Return(table!);
                        }
                    }
                }
            }
        }
    }

    private void Barrier()
    {
        if (!_isVolatile)
        {
            _file.Flush();
        }
    }

    /// <summary>Frees what neither the mapping, in memory and in the file, nor a transfer refers to.</summary>
    private void DropUnmapped()
    {
        _epochs.Advance();
        bool isAnyDropped = false;
        for (int i = _unmapped.Count - 1; i >= 0; i--)
        {
            FreedRange range = _unmapped[i];
            if (_epochs.IsOver(range.Epoch))
            {
                _unmapped[i] = _unmapped[^1];
                _unmapped.RemoveAt(_unmapped.Count - 1);
                _refcounts!.Drop(range);
                isAnyDropped = true;
            }
        }

        if (isAnyDropped && !IsLazy && !_isVolatile)
        {
            _refcounts!.WriteBlocks();
        }
    }

    /// <summary>Says in the file, before its refcounts fall behind for the first time, that they have to be counted anew.</summary>
    private void BeginLazy()
    {
        if (IsLazy && !_header.IsDirty)
        {
            _header.UpdateIncompatibleFeatures(_file, _header.IncompatibleFeatures | Qcow2Header.IncompatibleDirty);
            _file.Flush();
        }
    }

    /// <summary>Leaves a file in which nothing is missing.</summary>
    private void Close()
    {
        WriteBack();
        lock (_gate)
        {
            _refcounts!.WriteBlocks();
            _refcounts.TakeTableUpdate()?.WriteTo(_file, needsBarriers: true);
            if (_header.IsDirty)
            {
                _file.Flush();
                _header.UpdateIncompatibleFeatures(_file, _header.IncompatibleFeatures & ~Qcow2Header.IncompatibleDirty);
            }

            _file.Flush();
        }
    }
}
