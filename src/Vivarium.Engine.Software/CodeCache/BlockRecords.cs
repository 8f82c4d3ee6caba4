using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>Memory for <see cref="Block"/>s and <see cref="BlockRecord"/>s, given back all at once.</summary>
internal sealed unsafe class BlockRecords : IDisposable
{
    private const int PieceSize = 1 << 20;

    private readonly List<nint> _pieces = [];
    private int _current = -1;
    private byte* _next;
    private byte* _end;

    /// <param name="size">Bytes, a multiple of 8, at most those of a piece.</param>
    public void* Allocate(int size)
    {
        if (_end - _next < size)
        {
            _current++;
            if (_current == _pieces.Count)
            {
                _pieces.Add((nint)NativeMemory.AlignedAlloc(PieceSize, 64));
            }

            _next = (byte*)_pieces[_current];
            _end = _next + PieceSize;
        }

        void* allocated = _next;
        _next += size;
        return allocated;
    }

    /// <summary>Not while any block is in use.</summary>
    public void Clear()
    {
        _current = -1;
        _next = _end = null;
    }

    public void Dispose()
    {
        foreach (nint piece in _pieces)
        {
            NativeMemory.AlignedFree((void*)piece);
        }

        _pieces.Clear();
        Clear();
    }
}
