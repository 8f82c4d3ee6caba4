namespace Vivarium.Memory.Host;

/// <summary>
/// Memory of the host in huge pages (madvise(2), MADV_HUGEPAGE), if it gives them: one fault for each instead of one for each 4 KiB, which
/// costs more than the rest where most of what lies beside a touched page is touched soon.
/// </summary>
public static unsafe class HugePages
{
    /// <summary>Bytes of one: what an entry of x86-64's page directory maps.</summary>
    public const nuint Size = 2 << 20;

    /// <summary>
    /// Zeroed memory that costs nothing until it is touched, from the start of a huge page on; munmap(2) gives it back. Null, with the error number
    /// set, if the host refuses.
    /// </summary>
    /// <param name="size">In bytes, a multiple of 4096.</param>
    public static byte* Map(nuint size)
    {
        byte* start = Map(size, LinuxMemory.ProtRead | LinuxMemory.ProtWrite);
        if (start != null)
        {
            _ = LinuxMemory.Madvise(start, size, LinuxMemory.AdviseHugePage);
        }

        return start;
    }

    /// <summary>Addresses for memory that will be mapped there, from the start of a huge page on. Null, with the error number set, if the host refuses.</summary>
    /// <param name="size">In bytes, a multiple of 4096.</param>
    public static byte* Reserve(nuint size) => Map(size, LinuxMemory.ProtNone);

    /// <summary>
    /// Makes a huge page of memory that can be read, and of which little is in use yet. False if the host does not: shared memory may have none, and
    /// kernels before 6.1 do not know how.
    /// </summary>
    /// <param name="start">Where a huge page begins.</param>
    public static bool TryCollapse(byte* start)
    {
        // Where there is nothing at all, the kernel finds nothing to collapse.
        _ = Volatile.Read(ref *start);
        return LinuxMemory.Madvise(start, Size, LinuxMemory.AdviseCollapse) == 0;
    }

    private static byte* Map(nuint size, int protection)
    {
        byte* mapped = LinuxMemory.Mmap(null, size + Size, protection, LinuxMemory.MapPrivate | LinuxMemory.MapAnonymous | LinuxMemory.MapNoReserve, -1, 0);
        if (mapped == (byte*)-1)
        {
            return null;
        }

        byte* start = (byte*)(((nuint)mapped + Size - 1) & ~(Size - 1));
        nuint before = (nuint)(start - mapped);
        if (before != 0)
        {
            _ = LinuxMemory.Munmap(mapped, before);
        }

        _ = LinuxMemory.Munmap(start + size, Size - before);
        return start;
    }
}
