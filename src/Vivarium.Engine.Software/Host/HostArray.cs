using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// An array outside of the managed heap, for tables that grow large: pages nobody has touched cost nothing, what is
/// given back is the host's at once, and growing copies nothing.
/// </summary>
internal sealed unsafe class HostArray<T> : IDisposable where T : unmanaged
{
    private T* _start;

    /// <summary>All elements are zero.</summary>
    /// <param name="length">How many.</param>
    /// <param name="filled">Every page is about to be written: the host is asked for all of them at once.</param>
    public HostArray(int length, bool filled = false)
    {
        void* start = LinuxHost.Mmap(null, Size(length), LinuxHost.ProtRead | LinuxHost.ProtWrite, LinuxHost.MapPrivate | LinuxHost.MapAnonymous, -1, 0);
        Check(start);
        if (filled)
        {
            LinuxHost.Populate(start, Size(length));
        }

        _start = (T*)start;
        Length = length;
    }

    public int Length { get; private set; }

    public ref T this[int index]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Length, nameof(index));
            return ref _start[index];
        }
    }

    public Span<T> AsSpan(int length) => new Span<T>(_start, Length)[..length];

    /// <summary>What is added is zero. References and spans from before hold no longer.</summary>
    public void Grow(int length)
    {
        void* start = LinuxHost.Mremap(_start, Size(Length), Size(length), LinuxHost.MremapMayMove);
        Check(start);
        _start = (T*)start;
        Length = length;
    }

    public void Dispose()
    {
        if (_start != null)
        {
            _ = LinuxHost.Munmap(_start, Size(Length));
            _start = null;
            Length = 0;
        }
    }

    private static nuint Size(int length) => checked((nuint)length * (nuint)sizeof(T));

    private static void Check(void* start)
    {
        if (start == (void*)-1)
        {
            throw new OutOfMemoryException($"the host refuses memory for the engine's tables: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }
}
