using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

internal static class Chain
{
    /// <summary>An empty one, and the end of each; so no link has number 0.</summary>
    public const int None = 0;
}

/// <summary>Chains of items, of which there are many and mostly short ones, in one array for all: the blocks of each page, the jumps linked to each block.</summary>
internal sealed class Chains<T> : IDisposable where T : unmanaged, IEquatable<T>
{
    private const int InitialCapacity = 1 << 12;

    private readonly HostArray<(T Item, int Next)> _links = new(InitialCapacity);
    private int _used = 1;
    private int _free = Chain.None;

    public T this[int link] => _links[link].Item;

    /// <summary>The link behind one.</summary>
    public int After(int link) => _links[link].Next;

    /// <summary>Puts an item before a chain.</summary>
    public void Add(ref int chain, T item)
    {
        int link = _free;
        if (link != Chain.None)
        {
            _free = _links[link].Next;
        }
        else
        {
            if (_used == _links.Length)
            {
                _links.Grow(_links.Length * 2);
            }

            link = _used++;
        }

        _links[link] = (item, chain);
        chain = link;
    }

    /// <summary>Takes one item out; false if it is not there.</summary>
    public bool Remove(ref int chain, T item)
    {
        for (ref int to = ref chain; to != Chain.None; to = ref _links[to].Next)
        {
            if (_links[to].Item.Equals(item))
            {
                _ = Take(ref to);
                return true;
            }
        }

        return false;
    }

    /// <summary>Takes the first link out of a chain, which may be the rest of another, and returns its item.</summary>
    public T Take(ref int chain)
    {
        int link = chain;
        (T item, chain) = _links[link];
        _links[link] = (default, _free);
        _free = link;
        return item;
    }

    /// <summary>Where a link says what follows it, for <see cref="Take"/>. Holds until the next <see cref="Add"/>.</summary>
    public ref int Behind(int link) => ref _links[link].Next;

    public void Clear(ref int chain)
    {
        while (chain != Chain.None)
        {
            _ = Take(ref chain);
        }
    }

    /// <summary>Forgets all chains.</summary>
    public void Clear()
    {
        _used = 1;
        _free = Chain.None;
    }

    public void Dispose() => _links.Dispose();
}
