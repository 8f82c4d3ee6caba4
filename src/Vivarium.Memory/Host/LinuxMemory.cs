using System.Runtime.InteropServices;

namespace Vivarium.Memory.Host;

/// <summary>The Linux calls that back guest RAM: mmap(2), madvise(2), mincore(2), munmap(2).</summary>
internal static unsafe partial class LinuxMemory
{
    public const int ProtNone = 0;
    public const int ProtRead = 1;
    public const int ProtWrite = 2;
    public const int MapPrivate = 0x02;
    public const int MapAnonymous = 0x20;
    public const int MapNoReserve = 0x4000;
    public const int AdviseHugePage = 14;
    public const int AdviseCollapse = 25;

    private const nuint Page = 4096;
    private const int AdviseDontNeed = 4;

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
    public static partial byte* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    public static partial int Munmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    public static partial int Madvise(void* address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mincore", SetLastError = true)]
    private static partial int Mincore(void* address, nuint length, byte* resident);
}
