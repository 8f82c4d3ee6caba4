using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>Memory for <see cref="Block"/>s and <see cref="BlockRecord"/>s, given back all at once.</summary>
internal sealed unsafe class BlockRecords : IDisposable
{
    /// <summary>A huge page of the host, if it has them: one fault instead of one for each 4 KiB.</summary>
    private const int PieceSize = 2 << 20;

    private readonly List<TableMemory> _pieces = [];
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
                _pieces.Add(new TableMemory(PieceSize));
            }

            _next = _pieces[_current].Start;
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
        foreach (TableMemory piece in _pieces)
        {
            piece.Dispose();
        }

        _pieces.Clear();
        Clear();
    }
}
