using System.Runtime.InteropServices;

namespace Vivarium.Memory.Host;

/// <summary>The Linux calls that back guest RAM: mmap(2), madvise(2), mincore(2), munmap(2).</summary>
internal static unsafe partial class LinuxMemory
{
    /// <summary>Of x86-64: what one entry of a page directory maps.</summary>
    private const nuint HugePage = 2 << 20;

    private const nuint Page = 4096;
    private const int ProtRead = 1;
    private const int ProtWrite = 2;
    private const int MapPrivate = 0x02;
    private const int MapAnonymous = 0x20;
    private const int MapNoReserve = 0x4000;
    private const int AdviseDontNeed = 4;
    private const int AdviseHugePage = 14;

    /// <summary>
    /// Zeroed memory that costs nothing until it is touched, from the start of a huge page on, and in huge pages if the host gives
    /// them: a guest touches most of what lies beside what it touched, and a fault for each 4 KiB costs more than the rest. Null, with the
    /// error number set, if the host refuses.
    /// </summary>
    public static byte* Reserve(nuint size)
    {
        byte* mapped = Mmap(null, size + HugePage, ProtRead | ProtWrite, MapPrivate | MapAnonymous | MapNoReserve, -1, 0);
        if (mapped == (byte*)-1)
        {
            return null;
        }

        byte* start = (byte*)(((nuint)mapped + HugePage - 1) & ~(HugePage - 1));
        nuint before = (nuint)(start - mapped);
        if (before != 0)
        {
            _ = Munmap(mapped, before);
        }

        _ = Munmap(start + size, HugePage - before);
        _ = Madvise(start, size, AdviseHugePage);
        return start;
    }

    /// <summary>Gives whole pages back: they read as zero until they are written again. False if the host will not.</summary>
    public static bool Discard(byte* start, nuint length) => Madvise(start, length, AdviseDontNeed) == 0;

    /// <summary>How much of a mapping the host holds in memory, in bytes.</summary>
    public static ulong ResidentBytes(byte* start, nuint length)
    {
        const int pages = 4096;
        byte* resident = stackalloc byte[pages];
        ulong sum = 0;
        for (nuint done = 0; done < length; done += pages * Page)
        {
            nuint part = Math.Min(length - done, pages * Page);
            if (Mincore(start + done, part, resident) == 0)
            {
                foreach (byte page in new ReadOnlySpan<byte>(resident, (int)(part / Page)))
                {
                    sum += (page & 1u) * (ulong)Page;
                }
            }
        }

        return sum;
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial byte* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    public static partial int Munmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    private static partial int Madvise(void* address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mincore", SetLastError = true)]
    private static partial int Mincore(void* address, nuint length, byte* resident);
}
