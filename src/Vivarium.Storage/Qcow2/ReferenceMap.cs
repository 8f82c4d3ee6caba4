namespace Vivarium.Storage.Qcow2;

/// <summary>How often each cluster of a file is referred to, counted; space goes only to parts of the file that are.</summary>
internal sealed class ReferenceMap
{
    private const int ChunkBits = 8;

    private readonly Dictionary<long, uint[]> _chunks = [];

    /// <summary>One past the last cluster referred to.</summary>
    public long End { get; private set; }

    public uint this[long cluster] => _chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk) ? chunk[cluster & ((1 << ChunkBits) - 1)] : 0;

    public void Add(long cluster)
    {
        if (!_chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk))
        {
            _chunks[cluster >> ChunkBits] = chunk = new uint[1 << ChunkBits];
        }

        ref uint count = ref chunk[cluster & ((1 << ChunkBits) - 1)];
        count = count == uint.MaxValue ? count : count + 1;
        End = Math.Max(End, cluster + 1);
    }

    /// <summary>The clusters that are referred to, with their counts.</summary>
    public IEnumerable<(long Cluster, uint Count)> All()
    {
        foreach ((long index, uint[] chunk) in _chunks)
        {
            for (int i = 0; i < chunk.Length; i++)
            {
                if (chunk[i] > 0)
                {
                    yield return ((index << ChunkBits) + i, chunk[i]);
                }
            }
        }
    }

    /// <summary>Adds a reference to every cluster that the bytes touch.</summary>
    public void AddRange(long offset, long length, int clusterBits)
    {
        if (length > 0)
        {
            for (long cluster = offset >> clusterBits; cluster <= (offset + length - 1) >> clusterBits; cluster++)
            {
                Add(cluster);
            }
        }
    }
}
