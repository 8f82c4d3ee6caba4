using System.Runtime.InteropServices;

namespace Vivarium.Oracle.Native;

/// <summary>The Linux calls of the native runner (x86-64 glibc layouts).</summary>
internal static unsafe partial class Libc
{
    public const int ProtNone = 0;
    public const int ProtRead = 1;
    public const int ProtWrite = 2;
    public const int ProtExec = 4;
    public const int MapPrivate = 0x02;
    public const int MapAnonymous = 0x20;
    public const int MapPopulate = 0x8000;
    public const int MapFixedNoReplace = 0x100000;

    public const int SigIll = 4;
    public const int SigTrap = 5;
    public const int SigBus = 7;
    public const int SigFpe = 8;
    public const int SigSegv = 11;

    public const int SaSiginfo = 4;
    public const int SaOnStack = 0x08000000;

    public const int SigSetMask = 2;
    public const int SsDisable = 2;

    [StructLayout(LayoutKind.Sequential)]
    public struct SigAction
    {
        public ulong Handler;
        public fixed ulong Mask[16];
        public int Flags;
        private readonly int _pad;
        public ulong Restorer;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct SigSet
    {
        public fixed ulong Bits[16];
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct AlternateStack
    {
        public void* Address;
        public int Flags;
        private readonly int _pad;
        public nuint Size;
    }

    public const nint SysModifyLdt = 154;
    public const nint WriteLdt = 0x11;

    /// <summary>struct user_desc of a 16-bit segment.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public readonly struct UserDescriptor(ushort selector, uint @base, uint limit, uint contents)
    {
        private const int ContentsShift = 1;
        private const uint Useable = 1 << 6;

        public readonly uint Entry = (uint)selector >> 3;
        public readonly uint Base = @base;
        public readonly uint Limit = limit;
        public readonly uint Flags = (contents << ContentsShift) | Useable;
    }

    /// <summary>glibc has no function of its own for it.</summary>
    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    public static partial nint ModifyLdt(nint number, nint function, UserDescriptor* descriptor, nuint size);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    public static partial void* Mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    public static partial int Munmap(void* address, nuint length);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    public static partial int Mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    public static partial int Sigaction(int signal, SigAction* action, SigAction* old);

    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    public static partial int SignalMask(int how, SigSet* set, SigSet* old);

    [LibraryImport("libc", EntryPoint = "sigaltstack", SetLastError = true)]
    public static partial int Sigaltstack(AlternateStack* stack, AlternateStack* old);
}
