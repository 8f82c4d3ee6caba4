using System.Runtime.CompilerServices;
using Vivarium.Engine;

namespace Vivarium.Engine.Software.Translate;

/// <summary>What a translation takes for granted about the processor; part of a block's key.</summary>
[Flags]
internal enum BlockMode : uint
{
    /// <summary>Code segment size: 0 = 16, 1 = 32, 2 = 64 bits.</summary>
    Code32 = 1 << 0,
    Code64 = 1 << 1,

    /// <summary>SS.B: the stack pointer is ESP (always RSP with <see cref="Code64"/>).</summary>
    Stack32 = 1 << 2,

    /// <summary>CPL 3.</summary>
    User = 1 << 3,

    /// <summary>EFLAGS.AC with CPL below 3: a TLB of its own (SMAP).</summary>
    SupervisorAc = 1 << 4,

    /// <summary>Outside 64-bit code: DS, ES and SS have base 0, no limit, and can be written; so has CS, which can be read.</summary>
    Flat = 1 << 5,

    /// <summary>SSE may be used (CR4.OSFXSR, not CR0.EM).</summary>
    Sse = 1 << 6,

    /// <summary>VEX-encoded instructions may be used (CR4.OSXSAVE, XCR0.AVX).</summary>
    Avx = 1 << 7,

    /// <summary>EVEX-encoded instructions may be used.</summary>
    Avx512 = 1 << 8,

    /// <summary>RDTSC needs no check (CR4.TSD clear or CPL 0).</summary>
    Rdtsc = 1 << 9,

    /// <summary>Protected mode, so that LOCK, LAR and the like decode as there; clear in real and virtual-8086 mode.</summary>
    Protected = 1 << 10,

    /// <summary>MMX and x87 emulation bit CR0.EM.</summary>
    Emulate = 1 << 11,

    /// <summary>EFLAGS.TF, active breakpoints or alignment checks: every instruction runs by its careful translation.</summary>
    Stepping = 1 << 12,

    /// <summary>CPL 0, real mode among it.</summary>
    Ring0 = 1 << 14,

    /// <summary>A careful translation: one instruction, all memory accesses through C#.</summary>
    Careful = 1 << 13,

    /// <summary>
    /// A translation that serves wherever in the address space its page is mapped: it takes RIP from
    /// <see cref="NativeState.CodePage"/>. Never in <see cref="NativeState.Mode"/>, because RIP decides (<see cref="EngineOptions.Floats"/>).
    /// </summary>
    Floating = 1 << 15,

    /// <summary>
    /// Each access has its own check. Only for a block that such a one leaves for whose run of accesses does not lie in one page
    /// of plain memory; it goes on to ordinary ones.
    /// </summary>
    Apart = 1 << 16,
}

internal static class BlockModes
{
    /// <summary>Which bit <see cref="BlockMode.Floating"/> is.</summary>
    public const int FloatingBit = 15;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static AddressSpace Space(this BlockMode mode)
        => (mode & BlockMode.User) != 0 ? AddressSpace.User
            : (mode & BlockMode.SupervisorAc) != 0 ? AddressSpace.SupervisorAc : AddressSpace.Supervisor;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int CodeBits(this BlockMode mode)
        => (mode & BlockMode.Code64) != 0 ? 64 : (mode & BlockMode.Code32) != 0 ? 32 : 16;

    /// <summary>Size of the stack pointer in bits.</summary>
    public static int StackBits(this BlockMode mode)
        => (mode & BlockMode.Code64) != 0 ? 64 : (mode & BlockMode.Stack32) != 0 ? 32 : 16;
}
