using Vivarium.Engine.Software.Host;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>
/// The parts of a file that were read last, in memory of this process: reading one takes less than the faults by which its pages would
/// be mapped, and it stays as it was read, whatever happens to the file. For one thread at a time.
/// </summary>
internal sealed unsafe class FileWindows : IDisposable
{
    private const int Shift = 14;
    private const int Size = 1 << Shift;

    /// <summary>Each window goes on into the next one, so that what begins in it and is no longer than this stands in one piece.</summary>
    private const int Overlap = 4096;

    /// <summary>As many as one huge page holds.</summary>
    private const int Count = (2 << 20) / (Size + Overlap);

    private readonly int _fd;
    private readonly long _length;
    private readonly byte[] _placeOf;
    private readonly int[] _windowIn = new int[Count];
    private readonly ulong[] _lastUse = new ulong[Count];
    private TableMemory? _memory;
    private ulong _uses;

    /// <param name="fd">The file, whose owner this becomes.</param>
    /// <param name="length">Its size in bytes.</param>
    public FileWindows(int fd, long length)
    {
        _fd = fd;
        _length = length;
        _placeOf = new byte[(length >> Shift) + 1];
    }

    /// <summary>Something was read since the last <see cref="Release"/>.</summary>
    public bool HoldsAny => _memory is not null;

    /// <summary>
    /// The bytes at an offset, which lies in the file, and at least <see cref="Overlap"/> behind it as far as the file goes. They stand there until
    /// many others were asked for, or <see cref="Release"/>. Null if they cannot be read.
    /// </summary>
    /// <param name="offset">In the file.</param>
    /// <param name="available">How many bytes there are from there on.</param>
    public byte* At(long offset, out long available)
    {
        int window = (int)(offset >> Shift);
        long start = (long)window << Shift;
        long length = Math.Min(Size + Overlap, _length - start);
        available = length - (offset - start);
        int place = _placeOf[window] - 1;
        if (place < 0 && (place = Read(window, start, (nuint)length)) < 0)
        {
            return null;
        }

        _lastUse[place] = ++_uses;
        return Place(place) + (offset - start);
    }

    /// <summary>The process holds nothing of the file any more, until it is read again.</summary>
    public void Release()
    {
        if (_memory is not null)
        {
            _memory.Dispose();
            _memory = null;
            Array.Clear(_placeOf);
            Array.Clear(_lastUse);
            _uses = 0;
        }
    }

    public void Dispose()
    {
        Release();
        _ = LinuxHost.Close(_fd);
    }

    private byte* Place(int place) => _memory!.Start + ((nint)place * (Size + Overlap));

    /// <summary>Where it stands then, in place of what was not asked for the longest; less than zero if it cannot be read.</summary>
    private int Read(int window, long start, nuint length)
    {
        _memory ??= new TableMemory(Count * (Size + Overlap));
        int place = _lastUse.AsSpan().IndexOf(_lastUse.Min());
        if (_lastUse[place] != 0)
        {
            _placeOf[_windowIn[place]] = 0;
        }

        _lastUse[place] = 0;
        if (LinuxHost.Pread(_fd, Place(place), length, start) != (nint)length)
        {
            return -1;
        }

        _windowIn[place] = window;
        _placeOf[window] = (byte)(place + 1);
        return place;
    }
}
