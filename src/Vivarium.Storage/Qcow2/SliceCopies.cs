using System.Runtime.InteropServices;
using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>Copies of changed table slices on their way to the file, while the originals may change again.</summary>
internal sealed unsafe class SliceCopies(int sliceSize) : IDisposable
{
    private readonly List<int> _slots = [];
    private readonly List<long> _offsets = [];
    private byte* _data;
    private int _capacity;

    public IReadOnlyList<int> Slots => _slots;

    public void Add(int slot, long offset, ReadOnlySpan<byte> slice)
    {
        if (_slots.Count == _capacity)
        {
            _capacity = Math.Max(16, 2 * _capacity);
            _data = (byte*)NativeMemory.Realloc(_data, (nuint)_capacity * (nuint)sliceSize);
        }

        slice.CopyTo(new Span<byte>(_data + ((long)_slots.Count * sliceSize), sliceSize));
        _slots.Add(slot);
        _offsets.Add(offset);
    }

    public void WriteTo(HostFile file)
    {
        for (int i = 0; i < _slots.Count; i++)
        {
            file.Write(_offsets[i], new ReadOnlySpan<byte>(_data + ((long)i * sliceSize), sliceSize));
        }
    }

    public void Clear()
    {
        _slots.Clear();
        _offsets.Clear();
    }

    public void Dispose()
    {
        NativeMemory.Free(_data);
        _data = null;
        _capacity = 0;
    }
}
