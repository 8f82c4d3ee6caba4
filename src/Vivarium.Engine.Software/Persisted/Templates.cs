using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>The translations of this run that can be copied, by what they were made from. For one thread at a time.</summary>
internal sealed unsafe class Templates : IDisposable
{
    private const int InitialCapacity = 1 << 12;

    private const int PresentBits = 19;

    /// <summary>Looking further would cost more than translating: guests that write much alike code would have long chains.</summary>
    public const int MostCandidates = 12;

    private readonly TemplateMatch _match = new();
    private readonly HostArray<Entry> _entries = new(InitialCapacity);
    private int _count;

    /// <summary>By key, in a hash table with open addressing: the key and, below it, the number of its newest entry, plus one.</summary>
    private HostArray<ulong> _slots = new(InitialCapacity * 2);
    private int _keys;

    /// <summary>One bit for each key there is, by a part of its bits: most questions are for keys that are not, and need no look into tables that no cache holds.</summary>
    private readonly HostArray<ulong> _present = new(1 << (PresentBits - 6));

    private struct Entry
    {
        public BlockRecord* Record;
        public byte* Code;

        /// <summary>The next older entry with the same key, plus one.</summary>
        public int Next;
    }

    public int Count => _count;

    public Template this[int index] => new(_entries[index].Record, _entries[index].Code);

    public void Add(Block block)
    {
        if (_count == _entries.Length)
        {
            _entries.Grow(_entries.Length * 2);
        }

        if (_keys >= _slots.Length / 4 * 3)
        {
            Grow();
        }

        uint key = block.Record->Key;
        ref ulong slot = ref SlotOf(key);
        if (slot == 0)
        {
            _keys++;
        }

        _entries[_count++] = new Entry { Record = block.Record, Code = block.Code, Next = (int)slot };
        slot = ((ulong)key << 32) | (uint)_count;
        WordOf(key) |= BitOf(key);
    }

    /// <summary>There may be some with one of the keys.</summary>
    public bool MayHave(in TemplateKeys keys)
    {
        // All at once: no cache holds the bits for long, and the host need not wait for one before it asks for the next.
        bool any = false;
        for (int i = 0; i < TemplateKeys.Count; i++)
        {
            any |= IsPresent(keys[i]);
        }

        return any;
    }

    /// <summary>A translation of the same bytes, or none.</summary>
    public Template Find(in TemplateKeys keys, in CodeSource source, BlockMode mode)
    {
        for (int i = 0; i < TemplateKeys.Count; i++)
        {
            if (Find(keys[i], source, mode) is { Exists: true } found)
            {
                return found;
            }
        }

        return default;
    }

    public void Clear()
    {
        _count = 0;
        _keys = 0;
        _slots.AsSpan(_slots.Length).Clear();
        _present.AsSpan(_present.Length).Clear();
    }

    public void Dispose()
    {
        _entries.Dispose();
        _slots.Dispose();
        _present.Dispose();
    }

    private Template Find(uint key, in CodeSource source, BlockMode mode)
    {
        if (!IsPresent(key))
        {
            return default;
        }

        int number = (int)SlotOf(key);
        for (int candidates = 0; number != 0 && candidates < MostCandidates; candidates++)
        {
            ref Entry entry = ref _entries[number - 1];
            Template template = _match.Serve(entry.Record, entry.Code, source, mode);
            if (template.Exists)
            {
                return template;
            }

            number = entry.Next;
        }

        return default;
    }

    /// <summary>Where a key is, or would be: zero then.</summary>
    private ref ulong SlotOf(uint key)
    {
        int i = (int)key & (_slots.Length - 1);
        while (_slots[i] != 0 && _slots[i] >> 32 != key)
        {
            i = (i + 1) & (_slots.Length - 1);
        }

        return ref _slots[i];
    }

    private ref ulong WordOf(uint key) => ref _present[(int)(key >> (32 - PresentBits + 6))];

    private bool IsPresent(uint key) => (WordOf(key) & BitOf(key)) != 0;

    private static ulong BitOf(uint key) => 1ul << (int)((key >> (32 - PresentBits)) & 63);

    private void Grow()
    {
        using HostArray<ulong> old = _slots;
        _slots = new HostArray<ulong>(old.Length * 2, filled: true);
        foreach (ulong slot in old.AsSpan(old.Length))
        {
            if (slot != 0)
            {
                SlotOf((uint)(slot >> 32)) = slot;
            }
        }
    }
}
