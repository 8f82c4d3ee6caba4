namespace Vivarium.Oracle.Generate;

/// <summary>SplitMix64: a case is a pure function of its seed.</summary>
internal struct Rng(ulong seed)
{
    private ulong _state = seed;

    public static Rng For(ulong seed, int form, int index)
    {
        var first = new Rng(seed);
        var second = new Rng(first.Next() ^ ((ulong)(uint)form << 32) ^ (uint)index);
        return new Rng(second.Next());
    }

    public ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        ulong z = _state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>0 to <paramref name="bound"/> - 1.</summary>
    public int Below(int bound) => (int)((Next() >> 32) * (ulong)bound >> 32);

    /// <summary><paramref name="low"/> to <paramref name="high"/>, both included.</summary>
    public int Between(int low, int high) => low + Below(high - low + 1);

    public bool Chance(int percent) => Below(100) < percent;

    public T Pick<T>(ReadOnlySpan<T> items) => items[Below(items.Length)];
}
