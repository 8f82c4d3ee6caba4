namespace Vivarium.Engine.Software.CodeCache;

/// <summary>Blocks by key: chained through <see cref="Block.NextInTable"/>, so that a block costs one reference here.</summary>
internal sealed class BlockTable
{
    private const int InitialBuckets = 1 << 12;

    private Block[] _buckets = new Block[InitialBuckets];

    public int Count { get; private set; }

    public Block Find(in BlockKey key)
    {
        Block block = _buckets[Index(key)];
        while (block.Exists && !block.Key.Equals(key))
        {
            block = block.NextInTable;
        }

        return block;
    }

    /// <summary>Enters a block whose key is not there.</summary>
    public void Add(Block block)
    {
        if (Count == _buckets.Length)
        {
            Grow();
        }

        ref Block first = ref _buckets[Index(block.Key)];
        block.NextInTable = first;
        first = block;
        Count++;
    }

    /// <summary>Takes out that very block, if it is there.</summary>
    public void Remove(Block block)
    {
        ref Block first = ref _buckets[Index(block.Key)];
        Block before = default;
        for (Block at = first; at.Exists; before = at, at = at.NextInTable)
        {
            if (!at.Equals(block))
            {
                continue;
            }

            if (!before.Exists)
            {
                first = block.NextInTable;
            }
            else
            {
                before.NextInTable = block.NextInTable;
            }

            block.NextInTable = default;
            Count--;
            return;
        }
    }

    public void Clear()
    {
        Array.Clear(_buckets);
        Count = 0;
    }

    private int Index(in BlockKey key) => key.GetHashCode() & (_buckets.Length - 1);

    private void Grow()
    {
        Block[] old = _buckets;
        _buckets = new Block[old.Length * 2];
        foreach (Block first in old)
        {
            for (Block block = first; block.Exists;)
            {
                Block next = block.NextInTable;
                ref Block bucket = ref _buckets[Index(block.Key)];
                block.NextInTable = bucket;
                bucket = block;
                block = next;
            }
        }
    }
}
