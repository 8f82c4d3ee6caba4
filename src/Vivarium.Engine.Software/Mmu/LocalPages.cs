namespace Vivarium.Engine.Software.Mmu;

/// <summary>
/// The pages of a first-level TLB that a change of address space must drop: those that are not global. A kernel's TLB
/// holds few of them (a page mapped for a moment to patch code), and keeps the rest.
/// </summary>
internal sealed class LocalPages
{
    private const int Capacity = 64;

    private readonly ulong[] _pages = new ulong[Capacity];
    private int _count;

    /// <summary>There were more than are known: the whole TLB must go.</summary>
    public bool TooMany => _count > Capacity;

    /// <summary>Linear addresses in the pages; meaningless if there were <see cref="TooMany"/>.</summary>
    public ReadOnlySpan<ulong> Pages => _pages.AsSpan(0, Math.Min(_count, Capacity));

    public void Add(ulong linear)
    {
        if (_count < Capacity)
        {
            _pages[_count] = linear;
        }

        _count = Math.Min(_count + 1, Capacity + 1);
    }

    public void Clear() => _count = 0;
}
