using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// Blocks by key, in a hash table with open addressing. A slot holds a block's address and, above it, bits of its key's hash: most
/// questions are for blocks that are not there, and are answered without looking at any block.
/// </summary>
internal sealed class BlockTable : IDisposable
{
    private const int InitialSlots = 1 << 13;

    /// <summary>Above the addresses that Linux gives to programs which do not ask for more.</summary>
    private const int TagShift = 48;

    private HostArray<ulong> _slots = new(InitialSlots);

    public int Count { get; private set; }

    public Block Find(in BlockKey key)
    {
        HostArray<ulong> slots = _slots;
        ulong tag = Tag(key);
        for (int i = Home(key); slots[i] != 0; i = (i + 1) & (slots.Length - 1))
        {
            if ((slots[i] ^ tag) >> TagShift == 0 && At(slots[i]) is var block && block.Key.Equals(key))
            {
                return block;
            }
        }

        return default;
    }

    /// <summary>Enters a block whose key is not there.</summary>
    public void Add(Block block)
    {
        if (Count >= _slots.Length / 2)
        {
            Grow();
        }

        Enter(block);
        Count++;
    }

    /// <summary>Takes out that very block, if it is there.</summary>
    public void Remove(Block block)
    {
        int hole = Home(block.Key);
        while (_slots[hole] != 0 && !At(_slots[hole]).Equals(block))
        {
            hole = Next(hole);
        }

        if (_slots[hole] == 0)
        {
            return;
        }

        // What stands behind moves up if it would not be found across the hole.
        for (int i = Next(hole); _slots[i] != 0; i = Next(i))
        {
            int distance = (i - Home(At(_slots[i]).Key)) & (_slots.Length - 1);
            if (distance >= ((i - hole) & (_slots.Length - 1)))
            {
                _slots[hole] = _slots[i];
                hole = i;
            }
        }

        _slots[hole] = 0;
        Count--;
    }

    public void Clear()
    {
        _slots.AsSpan(_slots.Length).Clear();
        Count = 0;
    }

    public void Dispose() => _slots.Dispose();

    private static ulong Tag(in BlockKey key) => key.Tag << TagShift;

    private static Block At(ulong slot) => Block.At((nuint)(slot & ((1ul << TagShift) - 1)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Home(in BlockKey key) => key.Place & (_slots.Length - 1);

    private int Next(int slot) => (slot + 1) & (_slots.Length - 1);

    private void Enter(Block block)
    {
        int slot = Home(block.Key);
        while (_slots[slot] != 0)
        {
            slot = Next(slot);
        }

        _slots[slot] = block.Address | Tag(block.Key);
    }

    private void Grow()
    {
        using HostArray<ulong> old = _slots;
        _slots = new HostArray<ulong>(old.Length * 2, filled: true);
        foreach (ulong slot in old.AsSpan(old.Length))
        {
            if (slot != 0)
            {
                Enter(At(slot));
            }
        }
    }
}
