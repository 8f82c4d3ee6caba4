using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Frames that wait until the guest has buffers, in a ring of a fixed number of bytes that is allocated when the first
/// frame has to wait.
/// </summary>
internal sealed class FrameQueue(int capacity)
{
    [StructLayout(LayoutKind.Sequential)]
    private struct Entry
    {
        /// <summary>Length of the frame, or <see cref="Wrap"/> when the next one lies at the ring's start.</summary>
        public int Length;
        public FrameOffload Offload;
    }

    private const int Wrap = -1;

    private static readonly int EntrySize = Unsafe.SizeOf<Entry>();

    private byte[] _ring = [];
    private int _first;
    private int _end;
    private int _used;

    public bool IsEmpty => _used == 0;

    /// <summary>False when there is no room.</summary>
    public bool TryEnqueue(ReadOnlySpan<byte> frame, in FrameOffload offload)
    {
        if (_ring.Length == 0)
            _ring = new byte[capacity];
        var size = SizeOf(frame.Length);
        if (size > _ring.Length - _used)
            return false;
        var tail = _ring.Length - _end;
        if (size > tail)
        {
            if (size > _ring.Length - _used - tail)
                return false;
            if (tail >= EntrySize)
                MemoryMarshal.Write(_ring.AsSpan(_end), new Entry { Length = Wrap });
            _used += tail;
            _end = 0;
        }
        MemoryMarshal.Write(_ring.AsSpan(_end), new Entry { Length = frame.Length, Offload = offload });
        frame.CopyTo(_ring.AsSpan(_end + EntrySize));
        _end = (_end + size) % _ring.Length;
        _used += size;
        return true;
    }

    /// <summary>The oldest frame, which stays; only when not <see cref="IsEmpty"/>.</summary>
    public ReadOnlySpan<byte> Peek(out FrameOffload offload)
    {
        var tail = _ring.Length - _first;
        if (tail < EntrySize || MemoryMarshal.Read<Entry>(_ring.AsSpan(_first)).Length == Wrap)
        {
            _used -= tail;
            _first = 0;
        }
        var entry = MemoryMarshal.Read<Entry>(_ring.AsSpan(_first));
        offload = entry.Offload;
        return _ring.AsSpan(_first + EntrySize, entry.Length);
    }

    /// <summary>Removes the frame that <see cref="Peek"/> gave.</summary>
    public void Dequeue()
    {
        var size = SizeOf(MemoryMarshal.Read<Entry>(_ring.AsSpan(_first)).Length);
        _first = (_first + size) % _ring.Length;
        _used -= size;
    }

    private static int SizeOf(int length) => EntrySize + (length + 3 & ~3);
}
