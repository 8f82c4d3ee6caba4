using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// Zeroed memory in huge pages, if the host has them: for tables that one vCPU's translated code looks into everywhere, and which are larger than
/// the host's TLB reaches with others, and for what is filled soon, with one fault instead of one for each 4 KiB.
/// </summary>
internal sealed unsafe class TableMemory : IDisposable
{
    private const nuint HugePage = 2 << 20;

    /// <summary>An entry that is no larger than a line of the host's caches lies in one.</summary>
    private const nuint CacheLine = 64;

    private readonly byte* _start;
    private readonly nuint _size;
    private nuint _taken;

    /// <param name="size">Of all that will be taken, in bytes.</param>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public TableMemory(nuint size)
    {
        _size = (size + HugePage - 1) & ~(HugePage - 1);
        byte* mapped = (byte*)LinuxHost.Mmap(null, _size + HugePage, LinuxHost.ProtRead | LinuxHost.ProtWrite, LinuxHost.MapPrivate | LinuxHost.MapAnonymous, -1, 0);
        if (mapped == (byte*)-1)
        {
            throw new OutOfMemoryException($"the host refuses memory for a processor's tables: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        _start = (byte*)(((nuint)mapped + HugePage - 1) & ~(HugePage - 1));
        nuint before = (nuint)(_start - mapped);
        if (before != 0)
        {
            _ = LinuxHost.Munmap(mapped, before);
        }

        _ = LinuxHost.Munmap(_start + _size, HugePage - before);
        _ = LinuxHost.Madvise(_start, _size, LinuxHost.MadvHugePage);
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
