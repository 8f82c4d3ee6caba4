using System.Runtime.CompilerServices;

namespace Vivarium.Engine.Software.Host;

/// <summary>A list in a <see cref="HostArray{T}"/>.</summary>
internal sealed class HostList<T>(int capacity) : IDisposable where T : unmanaged
{
    private readonly HostArray<T> _items = new(capacity);

    public int Count { get; private set; }

    public ref T this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
            return ref _items[index];
        }
    }

    /// <summary>Holds until the next <see cref="Add"/>.</summary>
    public ReadOnlySpan<T> Items => _items.AsSpan(Count);

    public void Add(T item)
    {
        if (Count == _items.Length)
        {
            _items.Grow(Count * 2);
        }

        _items[Count++] = item;
    }

    public void Clear() => Count = 0;

    public void Dispose()
    {
        Count = 0;
        _items.Dispose();
    }
}
