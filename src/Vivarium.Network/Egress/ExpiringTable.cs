using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Keys that are valid until a time. It never grows beyond its capacity: when full, what has expired goes, and if that is
/// not enough, what would expire first.
/// </summary>
internal sealed class ExpiringTable<TKey>(int capacity)
    where TKey : struct, IEquatable<TKey>
{
    /// <summary>How much of a full table goes at once, so that making room costs little on average.</summary>
    private const int EvictedShare = 4;

    private readonly Dictionary<TKey, long> _expiries = [];
    private long[] _order = [];

    public int Count => _expiries.Count;

    public bool Contains(in TKey key, long now) => _expiries.TryGetValue(key, out var expiry) && expiry > now;

    /// <summary>Whether the key is valid; if so it is now at least until <paramref name="expiry"/>.</summary>
    public bool Refresh(in TKey key, long now, long expiry)
    {
        ref var known = ref CollectionsMarshal.GetValueRefOrNullRef(_expiries, key);
        if (System.Runtime.CompilerServices.Unsafe.IsNullRef(ref known) || known <= now)
            return false;
        known = Math.Max(known, expiry);
        return true;
    }

    public void Add(in TKey key, long now, long expiry)
    {
        if (_expiries.Count >= capacity && !_expiries.ContainsKey(key))
            MakeRoom(now);
        ref var known = ref CollectionsMarshal.GetValueRefOrAddDefault(_expiries, key, out _);
        known = Math.Max(known, expiry);
    }

    private void MakeRoom(long now)
    {
        if (_order.Length == 0)
            _order = new long[capacity];
        _expiries.Values.CopyTo(_order, 0);
        Array.Sort(_order, 0, _expiries.Count);
        var limit = Math.Max(now, _order[_expiries.Count / EvictedShare]);
        foreach (var (key, expiry) in _expiries)
        {
            if (expiry <= limit)
                _expiries.Remove(key);
        }
    }
}
