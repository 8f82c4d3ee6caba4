using System.Runtime.InteropServices;
using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Slices of on-disk tables (L2 tables, refcount blocks) in memory, bounded, found by their offset in the file. A slice is
/// what is read at once; whole tables of large clusters would waste memory. A slot stays valid until the next
/// <see cref="Get"/>. Changes stay here until they are written back in the order that crash safety asks for, so a changed
/// slice is never evicted: the owner has to write back before there are too many (<see cref="IsCrowded"/>). Not thread-safe.
/// </summary>
internal sealed unsafe class TableCache : IDisposable
{
    private readonly HostFile _file;
    private readonly int _capacity;
    private readonly Dictionary<long, int> _slots;
    private readonly List<Slot> _all = [];
    private readonly List<int> _dirty = [];
    private int _hand;
    private int _recent = -1;

    public TableCache(HostFile file, int sliceSize, int capacity)
    {
        _file = file;
        SliceSize = sliceSize;
        _capacity = capacity;
        _slots = new Dictionary<long, int>(Math.Min(capacity, 1024));
    }

    public int SliceSize { get; }

    /// <summary>The slots that differ from the file.</summary>
    public IReadOnlyList<int> Dirty => _dirty;

    /// <summary>So many slices are changed that they should be written back.</summary>
    public bool IsCrowded => _dirty.Count > _capacity / 2;

    /// <summary>The slot of the slice at that offset of the file, which is read if need be.</summary>
    public int Get(long offset)
    {
        if (_recent >= 0 && _all[_recent].Offset == offset)
        {
            return _recent;
        }

        if (!_slots.TryGetValue(offset, out int index))
        {
            index = Take();
            _file.Read(offset, new Span<byte>((void*)_all[index].Data, SliceSize));
            Enter(index, offset);
        }

        CollectionsMarshal.AsSpan(_all)[index].IsUsed = true;
        return _recent = index;
    }

    public byte* Data(int slot) => (byte*)_all[slot].Data;

    public long Offset(int slot) => _all[slot].Offset;

    public void MarkDirty(int slot)
    {
        ref Slot entry = ref CollectionsMarshal.AsSpan(_all)[slot];
        if (!entry.IsDirty)
        {
            entry.IsDirty = true;
            _dirty.Add(slot);
        }
    }

    /// <summary>Writes all changed slices to the file. Those before a failure are clean then, the others remain changed.</summary>
    public void WriteBack()
    {
        while (_dirty.Count > 0)
        {
            int slot = _dirty[^1];
            _file.Write(_all[slot].Offset, new ReadOnlySpan<byte>((void*)_all[slot].Data, SliceSize));
            _dirty.RemoveAt(_dirty.Count - 1);
            CollectionsMarshal.AsSpan(_all)[slot].IsDirty = false;
        }
    }

    /// <summary>
    /// Takes over the changes: copies each changed slice to <paramref name="copies"/>, calls it clean, and keeps it from
    /// being evicted until <see cref="Settle"/>.
    /// </summary>
    public void Lend(SliceCopies copies)
    {
        foreach (int slot in _dirty)
        {
            ref Slot entry = ref CollectionsMarshal.AsSpan(_all)[slot];
            copies.Add(slot, entry.Offset, new ReadOnlySpan<byte>((void*)entry.Data, SliceSize));
            entry.IsDirty = false;
            entry.IsLent = true;
        }

        _dirty.Clear();
    }

    /// <summary>Ends what <see cref="Lend"/> began; slices that could not be written are changed again.</summary>
    public void Settle(SliceCopies copies, bool written)
    {
        foreach (int slot in copies.Slots)
        {
            CollectionsMarshal.AsSpan(_all)[slot].IsLent = false;
            if (!written)
            {
                MarkDirty(slot);
            }
        }
    }

    /// <summary>Forgets the unchanged slices of a range of the file, which is about to become something else.</summary>
    public void Forget(long offset, long length)
    {
        for (long slice = offset; slice < offset + length; slice += SliceSize)
        {
            if (_slots.TryGetValue(slice, out int slot) && !_all[slot].IsDirty && !_all[slot].IsLent)
            {
                _slots.Remove(slice);
                CollectionsMarshal.AsSpan(_all)[slot].Offset = -1;
            }
        }
    }

    public void Dispose()
    {
        foreach (Slot slot in _all)
        {
            NativeMemory.Free((void*)slot.Data);
        }

        _all.Clear();
        _slots.Clear();
        _dirty.Clear();
        _recent = -1;
    }

    private void Enter(int index, long offset)
    {
        CollectionsMarshal.AsSpan(_all)[index].Offset = offset;
        CollectionsMarshal.AsSpan(_all)[index].IsUsed = true;
        _slots[offset] = index;
    }

    /// <summary>A slot for another slice: a new one while there may be more, else one not used lately (second chance).</summary>
    private int Take()
    {
        if (_all.Count >= _capacity)
        {
            Span<Slot> slots = CollectionsMarshal.AsSpan(_all);
            for (int tries = 2 * slots.Length; tries > 0; tries--)
            {
                int index = _hand;
                _hand = _hand + 1 == slots.Length ? 0 : _hand + 1;
                ref Slot slot = ref slots[index];
                if (slot.IsDirty || slot.IsLent)
                {
                    continue;
                }

                if (slot.IsUsed)
                {
                    slot.IsUsed = false;
                    continue;
                }

                if (slot.Offset >= 0)
                {
                    _slots.Remove(slot.Offset);
                    slot.Offset = -1;
                }

                return index;
            }
        }

        // All are changed: the bound gives way for as long as the write-back takes.
        _all.Add(new Slot { Data = (nint)NativeMemory.Alloc((nuint)SliceSize), Offset = -1 });
        return _all.Count - 1;
    }

    private struct Slot
    {
        public nint Data;
        public long Offset;
        public bool IsDirty;
        public bool IsLent;
        public bool IsUsed;
    }
}
