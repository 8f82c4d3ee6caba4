using Vivarium.Memory;

namespace Vivarium.Engine.Software.Mmu;

/// <summary>One entry of a paging structure, as it was read, and where it stands, so that its flags can be set atomically.</summary>
internal readonly unsafe struct TableEntry
{
    private readonly byte* _host;
    private readonly PageFlags* _flags;
    private readonly bool _wide;

    private TableEntry(byte* host, PageFlags* flags, bool wide, ulong value)
    {
        _host = host;
        _flags = flags;
        _wide = wide;
        Value = value;
    }

    public ulong Value { get; }

    public static TableEntry Read32(GuestMemory memory, ulong gpa)
    {
        MemorySlot? slot = memory.Find(gpa);
        if (slot is null)
        {
            return default;
        }

        ulong offset = gpa - slot.Start;
        byte* host = slot.Host + offset;
        return new TableEntry(slot.ReadOnly ? null : host, slot.Flags + (offset >> GuestMemory.PageShift), false, Volatile.Read(ref *(uint*)host));
    }

    public static TableEntry Read64(GuestMemory memory, ulong gpa)
    {
        MemorySlot? slot = memory.Find(gpa);
        if (slot is null)
        {
            return default;
        }

        ulong offset = gpa - slot.Start;
        byte* host = slot.Host + offset;
        return new TableEntry(slot.ReadOnly ? null : host, slot.Flags + (offset >> GuestMemory.PageShift), true, Volatile.Read(ref *(ulong*)host));
    }

    /// <summary>Sets accessed and dirty flags with a locked cycle (SDM vol. 3A, 4.8). False: somebody changed the entry; walk again.</summary>
    public bool TrySet(ulong bits)
    {
        if ((Value & bits) == bits || _host == null)
        {
            return true;
        }

        SlotFlags.Clear(_flags, PageFlags.Clean);
        ulong wanted = Value | bits;
        return _wide
            ? Interlocked.CompareExchange(ref *(ulong*)_host, wanted, Value) == Value
            : Interlocked.CompareExchange(ref *(uint*)_host, (uint)wanted, (uint)Value) == (uint)Value;
    }
}
