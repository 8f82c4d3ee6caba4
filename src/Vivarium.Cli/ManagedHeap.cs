using System.Buffers.Text;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Memory.Host;

namespace Vivarium.Cli;

/// <summary>The memory that the garbage collector has new objects in.</summary>
internal static unsafe partial class ManagedHeap
{
    private const int ProtReadWrite = 3;
    private const int AdviseDump = 17;

    /// <summary>
    /// Puts what the collector gives out first into a huge page, if the host has them. The collector asks for memory in steps of 64 KiB, so
    /// that each page of 4 KiB costs a fault: at a short start, where hardly any is used twice, a sixth of all the time on a slow host.
    /// Nothing happens unless all around the newest object is memory that is in use or reserved for the same purpose.
    /// </summary>
    public static void UseHugePage()
    {
        object newest = new();
        nuint start = *(nuint*)Unsafe.AsPointer(ref newest) & ~(HugePages.Size - 1);
        if (!IsPlain(start, start + HugePages.Size))
        {
            return;
        }

        // The collector does the first two itself, piece by piece, which then changes nothing; a difference would break the huge page up.
        byte* memory = (byte*)start;
        if (Mprotect(memory, HugePages.Size, ProtReadWrite) == 0 && Madvise(memory, HugePages.Size, AdviseDump) == 0)
        {
            _ = HugePages.TryCollapse(memory);
        }
    }

    /// <summary>Whether a range is private memory of no file, all of it, readable and writable or not accessible yet (proc(5), maps).</summary>
    internal static bool IsPlain(nuint start, nuint end)
    {
        ReadOnlySpan<byte> maps;
        try
        {
            maps = File.ReadAllBytes("/proc/self/maps");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }

        nuint covered = start;
        foreach (Range range in maps.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> line = maps[range];
            if (Utf8Parser.TryParse(line, out ulong from, out int digits, 'x') && Utf8Parser.TryParse(line[(digits + 1)..], out ulong to, out int more, 'x')
                && from <= covered && covered < to && covered < end)
            {
                ReadOnlySpan<byte> rest = line[(digits + more + 2)..];
                if (!(rest.StartsWith("rw-p "u8) || rest.StartsWith("---p "u8)) || !rest[5..].TrimEnd((byte)' ').SequenceEqual("00000000 00:00 0"u8))
                {
                    return false;
                }

                covered = (nuint)to;
            }
        }

        return covered >= end;
    }

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(void* address, nuint length, int advice);
}
