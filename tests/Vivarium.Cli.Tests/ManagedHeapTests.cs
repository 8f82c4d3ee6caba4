using System.Runtime.InteropServices;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>A huge page for the garbage collector.</summary>
public sealed unsafe partial class ManagedHeapTests
{
    private const nuint Page = 4096;
    private const int NoAccess = 0;
    private const int ReadOnly = 1;
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;

    [Fact]
    public void Objects_live_on()
    {
        int[][] before = [.. Enumerable.Range(0, 1000).Select(number => new int[] { number })];
        ManagedHeap.UseHugePage();
        int[][] after = [.. Enumerable.Range(0, 100_000).Select(number => new int[] { number })];
        GC.Collect();
        Assert.All(before.Index(), item => Assert.Equal(item.Index, item.Item[0]));
        Assert.Equal(Enumerable.Range(0, 100_000), after.Select(item => item[0]));
    }

    [Fact]
    public void Memory_in_use_and_reserved_memory_are_plain()
    {
        byte* memory = Map(ReadWrite);
        Assert.Equal(0, Mprotect(memory + Page, Page, NoAccess));
        Assert.True(ManagedHeap.IsPlain((nuint)memory, (nuint)memory + (4 * Page)));
        Assert.True(ManagedHeap.IsPlain((nuint)memory + Page, (nuint)memory + (3 * Page)));
        _ = Munmap(memory, 4 * Page);
    }

    [Fact]
    public void Other_memory_and_holes_are_not_plain()
    {
        byte* memory = Map(ReadWrite);
        Assert.Equal(0, Mprotect(memory + Page, Page, ReadOnly));
        Assert.False(ManagedHeap.IsPlain((nuint)memory, (nuint)memory + (4 * Page)));
        _ = Munmap(memory + Page, Page);
        Assert.False(ManagedHeap.IsPlain((nuint)memory, (nuint)memory + (4 * Page)));
        Assert.True(ManagedHeap.IsPlain((nuint)memory + (2 * Page), (nuint)memory + (4 * Page)));
        _ = Munmap(memory, 4 * Page);
        Assert.False(ManagedHeap.IsPlain((nuint)memory + (2 * Page), (nuint)memory + (4 * Page)));

        nint library = NativeLibrary.Load("libc.so.6");
        nuint code = (nuint)NativeLibrary.GetExport(library, "mprotect") & ~(Page - 1);
        Assert.False(ManagedHeap.IsPlain(code, code + Page));
    }

    private static byte* Map(int protection)
    {
        byte* memory = Mmap(null, 4 * Page, protection, PrivateAnonymous, -1, 0);
        Assert.NotEqual(-1, (nint)memory);
        return memory;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial byte* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Munmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Mprotect(void* address, nuint length, int protection);
}
