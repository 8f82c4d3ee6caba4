using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>The linked jumps: for each block a chain of those that were linked to it, in one array for all.</summary>
internal sealed class JumpLinks : IDisposable
{
    /// <summary>Ends a chain; so no link has number 0.</summary>
    public const int None = 0;

    private const int InitialCapacity = 1 << 12;

    private readonly HostArray<(int Displacement, int Next)> _links = new(InitialCapacity);
    private int _used = 1;
    private int _free = None;

    /// <summary>Puts a jump before a chain, and returns the new chain.</summary>
    /// <param name="displacement">Where the jump's displacement stands in the code region.</param>
    public int Add(int displacement, int chain)
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

        _links[link] = (displacement, chain);
        return link;
    }

    /// <summary>The chain's first jump. The chain becomes what is behind it.</summary>
    public int Take(ref int chain)
    {
        (int displacement, int next) = _links[chain];
        _links[chain].Next = _free;
        _free = chain;
        chain = next;
        return displacement;
    }

    public void Clear()
    {
        _used = 1;
        _free = None;
    }

    public void Dispose() => _links.Dispose();
}
