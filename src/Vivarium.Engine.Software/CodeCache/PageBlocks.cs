using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>The blocks of all pages: for each page a chain, in one array for all.</summary>
internal sealed class PageBlocks : IDisposable
{
    /// <summary>Ends a chain; so no link has number 0.</summary>
    public const int None = 0;

    private const int InitialCapacity = 1 << 12;

    private readonly HostArray<(Block Block, int Next)> _links = new(InitialCapacity);
    private int _used = 1;
    private int _free = None;

    public Block this[int link] => _links[link].Block;

    /// <summary>The link behind one.</summary>
    public int After(int link) => _links[link].Next;

    /// <summary>Puts a block before a chain.</summary>
    public void Add(ref int chain, Block block)
    {
        int link = _free;
        if (link != None)
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

        _links[link] = (block, chain);
        chain = link;
    }

    /// <summary>Takes one block out; false if it is not there.</summary>
    public bool Remove(ref int chain, Block block)
    {
        for (ref int to = ref chain; to != None; to = ref _links[to].Next)
        {
            if (_links[to].Block.Equals(block))
            {
                Take(ref to);
                return true;
            }
        }

        return false;
    }

    /// <summary>Takes the first link out of a chain, which may be the rest of another.</summary>
    public void Take(ref int chain)
    {
        int link = chain;
        chain = _links[link].Next;
        _links[link] = (default, _free);
        _free = link;
    }

    /// <summary>Where a link says what follows it, for <see cref="Take"/>. Holds until the next <see cref="Add"/>.</summary>
    public ref int Behind(int link) => ref _links[link].Next;

    public void Clear(ref int chain)
    {
        while (chain != None)
        {
            Take(ref chain);
        }
    }

    public void Dispose() => _links.Dispose();
}
