using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>The translations of this run that can be copied, by what they were made from. For one thread at a time.</summary>
internal sealed unsafe class Templates
{
    private const int InitialCapacity = 1 << 12;

    /// <summary>Looking further would cost more than translating: guests that write much alike code would have long chains.</summary>
    public const int MostCandidates = 12;

    private readonly TemplateMatch _match = new();
    private Entry[] _entries = new Entry[InitialCapacity];
    private int _count;

    /// <summary>By key: number of the newest entry, plus one.</summary>
    private int[] _heads = new int[InitialCapacity * 2];

    private struct Entry
    {
        public BlockRecord* Record;
        public byte* Code;
        public uint Key;

        /// <summary>The next older entry with the same head, plus one.</summary>
        public int Next;
    }

    public int Count => _count;

    public Template this[int index] => new(_entries[index].Record, _entries[index].Code);

    public void Add(Block block)
    {
        if (_count == _entries.Length)
        {
            Grow();
        }

        _entries[_count] = new Entry { Record = block.Record, Code = block.Code, Key = block.Record->Key };
        Chain(_count++);
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
        Array.Clear(_heads);
    }

    private Template Find(uint key, in CodeSource source, BlockMode mode)
    {
        int candidates = 0;
        for (int i = _heads[key & (_heads.Length - 1)]; i != 0 && candidates < MostCandidates; i = _entries[i - 1].Next)
        {
            ref Entry entry = ref _entries[i - 1];
            if (entry.Key == key)
            {
                candidates++;
                Template template = _match.Serve(entry.Record, entry.Code, source, mode);
                if (template.Exists)
                {
                    return template;
                }
            }
        }

        return default;
    }

    private void Chain(int index)
    {
        ref Entry entry = ref _entries[index];
        ref int head = ref _heads[entry.Key & (_heads.Length - 1)];
        entry.Next = head;
        head = index + 1;
    }

    private void Grow()
    {
        Array.Resize(ref _entries, _entries.Length * 2);
        _heads = new int[_entries.Length * 2];
        for (int i = 0; i < _count; i++)
        {
            Chain(i);
        }
    }
}
