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

    /// <summary>By key: number of the newest entry, plus one.</summary>
    private HostArray<int> _heads = new(InitialCapacity * 2);

    /// <summary>One bit for each key there is, by a part of its bits: most questions are for keys that are not, and need no look into tables that no cache holds.</summary>
    private readonly HostArray<ulong> _present = new(1 << (PresentBits - 6));

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
        WordOf(block.Record->Key) |= BitOf(block.Record->Key);
    }

    /// <summary>A translation of the same bytes, or none.</summary>
    public Template Find(in TemplateKeys keys, in CodeSource source, BlockMode mode)
    {
        // All at once: no cache holds the bits for long, and the host need not wait for one before it asks for the next.
        bool any = false;
        for (int i = 0; i < TemplateKeys.Count; i++)
        {
            any |= IsPresent(keys[i]);
        }

        for (int i = 0; any && i < TemplateKeys.Count; i++)
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
        _heads.AsSpan(_heads.Length).Clear();
        _present.AsSpan(_present.Length).Clear();
    }

    public void Dispose()
    {
        _entries.Dispose();
        _heads.Dispose();
        _present.Dispose();
    }

    private Template Find(uint key, in CodeSource source, BlockMode mode)
    {
        if (!IsPresent(key))
        {
            return default;
        }

        int candidates = 0;
        for (int i = HeadOf(key); i != 0 && candidates < MostCandidates; i = _entries[i - 1].Next)
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

    private ref int HeadOf(uint key) => ref _heads[(int)key & (_heads.Length - 1)];

    private ref ulong WordOf(uint key) => ref _present[(int)(key >> (32 - PresentBits + 6))];

    private bool IsPresent(uint key) => (WordOf(key) & BitOf(key)) != 0;

    private static ulong BitOf(uint key) => 1ul << (int)((key >> (32 - PresentBits)) & 63);

    private void Chain(int index)
    {
        ref Entry entry = ref _entries[index];
        ref int head = ref HeadOf(entry.Key);
        entry.Next = head;
        head = index + 1;
    }

    private void Grow()
    {
        _entries.Grow(_entries.Length * 2);
        _heads.Dispose();
        _heads = new HostArray<int>(_entries.Length * 2);
        for (int i = 0; i < _count; i++)
        {
            Chain(i);
        }
    }
}
