using System.Buffers.Text;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Cli.Machines.Host;
using Vivarium.Cli.Terminal.Host;
using Vivarium.Memory.Host;

namespace Vivarium.Cli;

/// <summary>The memory that the garbage collector has new objects in.</summary>
internal static unsafe partial class ManagedHeap
{
    private const int ProtReadWrite = 3;
    private const int AdviseDump = 17;

    /// <summary>Bytes: more than the longest line, which names a path.</summary>
    private const int BufferSize = 8 << 10;

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

    /// <summary>
    /// Whether a range is private memory of no file, all of it, readable and writable or not accessible yet (proc(5), maps). Found by bare
    /// calls, since what File needs is not ready yet at a start.
    /// </summary>
    [SkipLocalsInit]
    internal static bool IsPlain(nuint start, nuint end)
    {
        byte* buffer = stackalloc byte[BufferSize];
        nuint covered = start;
        int fd = Linux.Open("/proc/self/maps", Linux.OpenCloseOnExec, 0);
        bool plain = fd >= 0;
        int kept = 0;
        while (plain && covered < end && Posix.Read(fd, buffer + kept, BufferSize - kept) is > 0 and nint read)
        {
            Span<byte> text = new(buffer, kept + (int)read);
            while (plain && text.IndexOf((byte)'\n') is >= 0 and int length)
            {
                plain = TakeMapping(text[..length], end, ref covered);
                text = text[(length + 1)..];
            }

            text.CopyTo(new Span<byte>(buffer, BufferSize));
            kept = text.Length;
        }

        _ = Linux.Close(fd);
        return plain && covered >= end;
    }

    /// <summary>Goes on from what is covered already by what a line tells of; false if that is there and not plain.</summary>
    private static bool TakeMapping(ReadOnlySpan<byte> line, nuint end, ref nuint covered)
    {
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

        return true;
    }

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Madvise(void* address, nuint length, int advice);
}
