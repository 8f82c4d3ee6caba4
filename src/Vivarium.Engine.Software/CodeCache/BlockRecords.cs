using System.Runtime.InteropServices;
using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>Memory for <see cref="Block"/>s and <see cref="BlockRecord"/>s, given back all at once.</summary>
internal sealed unsafe class BlockRecords : IDisposable
{
    private const int PieceSize = 1 << 20;
    private const int PrepareStep = 64 << 10;

    private readonly List<nint> _pieces = [];
    private int _current = -1;
    private byte* _next;
    private byte* _end;
    private byte* _prepared;

    /// <param name="size">Bytes, a multiple of 8, at most those of a piece.</param>
    public void* Allocate(int size)
    {
        if (_end - _next < size)
        {
            _current++;
            if (_current == _pieces.Count)
            {
                _pieces.Add((nint)NativeMemory.AlignedAlloc(PieceSize, PrepareStep));
            }

            _next = _prepared = (byte*)_pieces[_current];
            _end = _next + PieceSize;
        }

        void* allocated = _next;
        _next += size;
        if (_next > _prepared)
        {
            Prepare();
        }

        return allocated;
    }

    /// <summary>Asks the host for the next pages in one step, which takes less than a fault for each.</summary>
    private void Prepare()
    {
        byte* from = _prepared;
        _prepared = from + ((_next - from + PrepareStep - 1) & -PrepareStep);

        // Kernels before 5.14 do not know it: then there is a fault for each page.
        _ = LinuxHost.Madvise(from, (nuint)(_prepared - from), LinuxHost.MadvPopulateWrite);
    }

    /// <summary>Not while any block is in use.</summary>
    public void Clear()
    {
        _current = -1;
        _next = _end = _prepared = null;
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
