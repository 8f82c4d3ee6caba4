namespace Vivarium.Devices;

/// <summary>A queue of bytes with a fixed capacity.</summary>
internal sealed class ByteQueue(int capacity)
{
    private readonly byte[] _bytes = new byte[capacity];
    private int _first;

    public int Count { get; private set; }

    public int Room => _bytes.Length - Count;

    public void Enqueue(byte value)
    {
        _bytes[(_first + Count) % _bytes.Length] = value;
        Count++;
    }

    public byte Dequeue()
    {
        var value = _bytes[_first];
        _first = (_first + 1) % _bytes.Length;
        Count--;
        return value;
    }

    /// <summary>Takes the youngest byte back out.</summary>
    public byte DequeueLast()
    {
        Count--;
        return _bytes[(_first + Count) % _bytes.Length];
    }

    /// <summary>Puts a byte in front of all others.</summary>
    public void EnqueueFirst(byte value)
    {
        _first = (_first + _bytes.Length - 1) % _bytes.Length;
        _bytes[_first] = value;
        Count++;
    }

    public void Clear() => Count = 0;

    public byte[] ToArray()
    {
        var copy = new byte[Count];
        for (var i = 0; i < copy.Length; i++)
            copy[i] = _bytes[(_first + i) % _bytes.Length];
        return copy;
    }
}
