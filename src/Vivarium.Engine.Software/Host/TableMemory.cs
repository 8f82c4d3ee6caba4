using System.Runtime.InteropServices;
using Vivarium.Memory.Host;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// Zeroed memory in huge pages, if the host has them: for tables that one vCPU's translated code looks into everywhere, and which are larger than
/// the host's TLB reaches with others, and for what is filled soon, with one fault instead of one for each 4 KiB.
/// </summary>
internal sealed unsafe class TableMemory : IDisposable
{
    /// <summary>An entry that is no larger than a line of the host's caches lies in one.</summary>
    private const nuint CacheLine = 64;

    private readonly byte* _start;
    private readonly nuint _size;
    private nuint _taken;

    /// <param name="size">Of all that will be taken, in bytes.</param>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public TableMemory(nuint size)
    {
        _size = (size + HugePages.Size - 1) & ~(HugePages.Size - 1);
        _start = HugePages.Map(_size);
        if (_start == null)
        {
            throw new OutOfMemoryException($"the host refuses memory for a processor's tables: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>The start of a huge page.</summary>
    public byte* Start => _start;

    /// <summary>The next piece, from the start of a line of the host's caches on.</summary>
    public void* Take(nuint size)
    {
        void* piece = _start + _taken;
        _taken += SizeOf(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_taken, _size, nameof(size));
        return piece;
    }

    /// <summary>What a piece takes.</summary>
    public static nuint SizeOf(nuint size) => (size + CacheLine - 1) & ~(CacheLine - 1);

    public void Dispose() => _ = LinuxHost.Munmap(_start, _size);
}
