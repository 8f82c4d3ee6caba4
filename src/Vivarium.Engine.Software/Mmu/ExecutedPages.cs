namespace Vivarium.Engine.Software.Mmu;

/// <summary>
/// Which linear pages code may have been looked up in since the jump caches were last emptied: hash bits, so that it may
/// say yes wrongly but never no. INVLPG of a page without code then leaves the jump caches alone.
/// </summary>
internal sealed class ExecutedPages
{
    private const int Bits = 4096;

    private readonly ulong[] _pages = new ulong[Bits / 64];

    public void Add(ulong linear)
    {
        int bit = BitOf(linear);
        _pages[bit >> 6] |= 1ul << bit;
    }

    public bool MayContain(ulong linear)
    {
        int bit = BitOf(linear);
        return (_pages[bit >> 6] >> bit & 1) != 0;
    }

    public void Clear() => Array.Clear(_pages);

    private static int BitOf(ulong linear) => (int)((linear >> 12) ^ (linear >> 24)) & (Bits - 1);
}
