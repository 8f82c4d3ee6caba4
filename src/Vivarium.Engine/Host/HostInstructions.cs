using System.Runtime.InteropServices;

namespace Vivarium.Engine.Host;

/// <summary>
/// Host instructions that .NET has no intrinsic for, as a page of a few emitted functions. The page is written first
/// and made executable (and read-only) afterwards, so it is never both.
/// </summary>
public static unsafe partial class HostInstructions
{
    private const int PageSize = 4096;
    private const int FxsaveOffset = 16;
    private const int FxsaveAreaSize = 512;
    private const int MxcsrMaskOffset = 28;

    /// <summary>What a processor means by an MXCSR_MASK of 0 (SDM vol. 1, 11.6.6).</summary>
    private const uint DefaultMxcsrMask = 0xFFBF;

    private static readonly byte* Page = Emit();

    /// <summary>RDTSC: the host's time-stamp counter.</summary>
    public static delegate* unmanaged<ulong> ReadTsc { get; } = (delegate* unmanaged<ulong>)Page;

    /// <summary>The MXCSR bits that the host's FXSAVE reports as settable; loading any other is #GP.</summary>
    public static uint MxcsrMask { get; } = ReadMxcsrMask();

    private static byte* Emit()
    {
        ReadOnlySpan<byte> rdtsc = [0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]; // rdtsc; shl rdx,32; or rax,rdx; ret
        ReadOnlySpan<byte> fxsave = [0x0F, 0xAE, 0x07, 0xC3]; // fxsave [rdi]; ret
        const int readWrite = 3, readExecute = 5, privateAnonymous = 0x22;
        byte* page = Map(null, PageSize, readWrite, privateAnonymous, -1, 0);
        if ((nint)page == -1)
        {
            throw new InvalidOperationException("The host refuses memory for emitted code.");
        }

        rdtsc.CopyTo(new Span<byte>(page, FxsaveOffset));
        fxsave.CopyTo(new Span<byte>(page + FxsaveOffset, FxsaveOffset));
        if (Protect(page, PageSize, readExecute) != 0)
        {
            throw new InvalidOperationException("The host refuses to make emitted code executable.");
        }

        return page;
    }

    private static uint ReadMxcsrMask()
    {
        byte* area = (byte*)NativeMemory.AlignedAlloc(FxsaveAreaSize, 16);
        NativeMemory.Clear(area, FxsaveAreaSize);
        ((delegate* unmanaged<byte*, void>)(Page + FxsaveOffset))(area);
        uint mask = *(uint*)(area + MxcsrMaskOffset);
        NativeMemory.AlignedFree(area);
        return mask == 0 ? DefaultMxcsrMask : mask;
    }

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial byte* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(void* address, nuint length, int protection);
}
