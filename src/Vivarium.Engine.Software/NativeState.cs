using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Engine;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software;

/// <summary>A segment register as translated code sees it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NativeSegment
{
    public ulong Base;

    /// <summary>Last valid offset (expand-up) or last invalid one (expand-down); granularity applied.</summary>
    public uint Limit;

    /// <summary>As <see cref="SegmentRegister.Attributes"/>.</summary>
    public uint Attributes;

    /// <summary>
    /// First offset that is not readable / writable without further checks: 0 where every access must go to
    /// <see cref="SoftwareVcpu.SegmentedAddress"/> (unusable, wrong type, expand-down). Used by translated code only.
    /// </summary>
    public ulong ReadEnd;
    public ulong WriteEnd;
    public ushort Selector;
    private readonly ushort _pad0;
    private readonly uint _pad1;
}

/// <summary>The segments that an IRET to 64-bit code has loaded, and the descriptors in the GDT that they were made from.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NativeReturn
{
    /// <summary>No selector has more than 16 bits.</summary>
    public const uint NoSelector = 0x1_0000;

    /// <summary><see cref="NoSelector"/> if nothing is known.</summary>
    public uint CsSelector, SsSelector;
    public NativeSegment Cs, Ss;
    public ulong CsDescriptor, SsDescriptor;

    public void Forget() => CsSelector = SsSelector = NoSelector;
}

/// <summary>
/// An entry of a first-level TLB: all that an access reads of it lies in one cache line. A tag is the linear page address; an access hits
/// when (address XOR tag) is at most 4096 - size, which also catches accesses that cross the page.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NativeTlbEntry
{
    // Where the fields stand.
    public const int ReadTagOffset = 0;
    public const int WriteTagOffset = 8;
    public const int HostPageOffset = 16;
    public const int DeltaOffset = 24;

    public ulong ReadTag;
    public ulong WriteTag;

    /// <summary>Host address of the page's first byte.</summary>
    public ulong HostPage;

    /// <summary>What to add to a linear address in the page for its host address.</summary>
    public ulong Delta;

    public static int TagOffset(bool write) => write ? WriteTagOffset : ReadTagOffset;
}

/// <summary>One direct-mapped software TLB.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeTlb
{
    public const int IndexBits = 10;
    public const int Entries = 1 << IndexBits;

    /// <summary>Binary logarithm of an entry's bytes.</summary>
    public const int EntryShift = 5;

    private fixed ulong _words[Entries << EntryShift >> 3];

    /// <summary>The entries of a TLB that does not move.</summary>
    public static NativeTlbEntry* EntriesOf(NativeTlb* tlb) => (NativeTlbEntry*)tlb->_words;
}

/// <summary>
/// The page that the stack pointer of 64-bit code was in last, copied from a TLB: accesses by it need no index, and two pages that take turns in
/// the TLB do not disturb it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NativeStackPage
{
    /// <summary>
    /// No page's tag: as without an index every tag is some address's, one of 2^51 that the guest cannot know. Neither it nor what any
    /// <see cref="Delta"/> makes of it is canonical (with 48 or with 57 bits), so that not even who guesses it gets past a #GP.
    /// </summary>
    public static readonly ulong NoPage = (ulong)Random.Shared.NextInt64(0x1_0000_0000_0000, 0xE_0000_0000_0000) << 12;

    // Where the fields stand.
    private const int ReadTagOffset = 0;
    private const int WriteTagOffset = 8;
    public const int DeltaOffset = 16;

    // As in NativeTlbEntry.
    public ulong ReadTag;
    public ulong WriteTag;
    public ulong Delta;

    public static int TagOffset(bool write) => write ? WriteTagOffset : ReadTagOffset;

    /// <summary>The next access comes to the TLB.</summary>
    public void Forget() => ReadTag = WriteTag = NoPage;

    /// <summary>The next write comes to the TLB. Returns true if one might have gone to the host page without. Callable from any thread.</summary>
    public unsafe bool ForgetWrites(byte* hostPage)
    {
        bool any = Volatile.Read(ref WriteTag) + Delta == (ulong)hostPage;
        ForgetWrites();
        return any;
    }

    /// <summary>The next write comes to the TLB. Callable from any thread.</summary>
    public void ForgetWrites() => Volatile.Write(ref WriteTag, NoPage);
}

/// <summary>
/// What was filled of a TLB or a jump cache since it was last emptied, so that emptying it costs no more than filling it did.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeFilled
{
    public const int Capacity = 1023;
    public const int ItemsOffset = sizeof(ulong);

    /// <summary>At most <see cref="Capacity"/>, which says that there may have been more.</summary>
    public ulong Count;

    /// <summary>Linear addresses in the pages, or where in the jump cache entries stand; one that does not count is written before it is noticed that there are too many.</summary>
    public fixed ulong Items[Capacity + 1];

    public readonly bool TooMany => Count >= Capacity;

    public void Add(ulong item)
    {
        if (Count < Capacity)
        {
            Items[Count++] = item;
        }
    }
}

/// <summary>Where indirect and cross-page jumps look first: guest RIP to translated code, direct-mapped.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeJumpCache
{
    public const int Entries = 8192;

    /// <summary>Binary logarithm of an entry's bytes.</summary>
    public const int EntryShift = 4;
    private const int UserEntries = 8192;

    /// <summary>
    /// How many entries an address space uses: a kernel's stay, programs' are emptied at every change of address space,
    /// which must not cost more than they save. <see cref="NativeFoundBlocks"/> fills them again.
    /// </summary>
    public static int EntriesOf(AddressSpace space) => space == AddressSpace.User ? UserEntries : Entries;

    /// <summary>
    /// From all bits (CRC-32C, as the host's CRC32): code far apart is often equal in the lower ones. Taken from where it needs no
    /// shift to become an offset.
    /// </summary>
    public static int IndexOf(ulong rip, AddressSpace space) => (int)(BitOperations.Crc32C(0, rip) >> EntryShift) & (EntriesOf(space) - 1);

    /// <summary>Where the entry for a RIP stands, from emitted code's state pointer.</summary>
    public static int DisplacementOf(ulong rip, AddressSpace space) => Translate.StateOffset.Jumps(space) + (IndexOf(rip, space) << EntryShift);

    /// <summary>Pairs: negated RIP (so that an LEA compares without touching flags), code address.</summary>
    public fixed ulong Entry[Entries * 2];
}

/// <summary>
/// Which pages code is executed in, direct-mapped: an entry tells the physical page of a linear one, and that code may be
/// fetched there. Emptied with the TLB. Beside it, hash bits of the pages that code may have been looked up in since the jump
/// caches were last emptied, so that INVLPG of a page without code leaves them alone.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeExecutedPages
{
    public const int Entries = 512;

    /// <summary>The hash bits of one half of the address space, in words: kernels' pages must not be taken for programs'.</summary>
    public const int SeenWords = 64;

    /// <summary>Bits of a physical page number; what is left of 64 takes bits 47:12 of the linear address.</summary>
    public const int PhysicalBits = CpuModel.PhysicalAddressBits - 12;

    /// <summary>Linear page number above physical page number.</summary>
    public fixed ulong Entry[Entries];

    public fixed ulong Seen[2 * SeenWords];

    public const int SeenOffset = Entries * sizeof(ulong);

    public static int IndexOf(ulong linear) => (int)(linear >> 12) & (Entries - 1);

    /// <summary>A page's bit in <see cref="Seen"/>.</summary>
    public static int SeenBit(ulong linear)
        => ((int)((linear >> 12) ^ (linear >> 24)) & ((SeenWords * 64) - 1)) + ((int)(linear >> 63) * SeenWords * 64);

    public static ulong EntryFor(ulong linear, ulong gpa) => LinearPart(linear) | (gpa >> 12);

    /// <summary>An address's bits 47:12 at their place in an entry.</summary>
    public static ulong LinearPart(ulong linear) => linear << 16 & ~((1ul << PhysicalBits) - 1);
}

/// <summary>
/// Where jumps of 64-bit code look that the jump cache does not know: blocks by RIP, physical page and mode, which outlive
/// changes of the address space. Direct-mapped; an entry tells only where in the code region a <see cref="CodeCache.BlockHeader"/>
/// stands, and that tells whether it is the block.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeFoundBlocks
{
    private const int CountBits = 18;
    public const int Count = 1 << CountBits;

    /// <summary>What is left of a header's hash is the index.</summary>
    public const int IndexShift = 32 - CountBits;

    /// <summary>0: nothing; the header there is no block's.</summary>
    public fixed uint Entry[Count];

    public static int IndexOf(in CodeCache.BlockHeader header) => (int)(header.Hash >> IndexShift);
}

/// <summary>
/// A page that an access in a loop (<see cref="CodeCache.Block.Loops"/>) went to last. Known only while the loop runs: it
/// forgets all it has when it is entered, so that what was flushed or taken away before is not used.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NativeLoopPage
{
    /// <summary>The linear address of the page.</summary>
    public ulong Page;

    /// <summary>Offsets in the page below this need no further check: 4097 - size of the access; 0: nothing is known.</summary>
    public ulong Limit;

    /// <summary>What to add to a linear address in the page for its host address.</summary>
    public ulong Delta;
    private readonly ulong _pad;
}

[InlineArray(Count)]
internal struct NativeLoopPages
{
    public const int Count = 24;

    private NativeLoopPage _first;
}

/// <summary>
/// Where the accesses of a loop stay in the pages that they went to last, and those pages. As <see cref="NativeLoopPage"/>, known only
/// while the loop runs.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeLoopWindows
{
    public const int Windows = 8;
    public const int Accesses = 24;

    /// <summary>Of a window: its lowest address, its highest, and the difference.</summary>
    public const int WindowSize = 4 * sizeof(ulong);

    public const int DeltasOffset = Windows * WindowSize;

    public fixed ulong Bounds[Windows * WindowSize / sizeof(ulong)];

    /// <summary>By access: host minus linear address.</summary>
    public fixed ulong Deltas[Accesses];
}

/// <summary>
/// The vCPU's native state block: one register points to it for the whole time in translated code. It is the single
/// home of the architectural state while C# runs; in translated code most general registers, the arithmetic flags and
/// (while <see cref="ExtendedInMemory"/> is zero) the x87 and vector state live in the host's own registers instead.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeState
{
    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15.</summary>
    public fixed ulong Gpr[16];

    // From here on one byte reaches the fields, and of those above the last four: what translated code uses most.

    /// <summary>The pages of the stacks, of user and of supervisor.</summary>
    public NativeStackPage UserStack, SupervisorStack;

    /// <summary>Offset in the code segment (RIP, EIP or IP, zero-extended).</summary>
    public ulong Rip;

    /// <summary>All other RFLAGS bits: the fixed bit 1, TF, IF, DF, IOPL, NT, RF, VM, AC, VIF, VIP, ID.</summary>
    public ulong SystemFlags;

    /// <summary>Not zero: leave translated code at the next poll (kick, interrupt, invalidation). Set by <see cref="RequestExit"/>.</summary>
    public ulong ExitRequest;

    /// <summary>
    /// The stack pointer at which no frame fits any more; or the highest value there is, so that calls need not look at
    /// <see cref="ExitRequest"/> too. Each entry into translated code sets it to the one or the other.
    /// </summary>
    public ulong HostStackEnd;

    /// <summary>While a floating translation runs (<see cref="BlockMode.Floating"/>): where its page is mapped.</summary>
    public ulong CodePage;

    /// <summary>Zero: x87 and vector state are in the host's registers; not zero (always so while C# runs): in <see cref="Xsave"/>.</summary>
    public ulong ExtendedInMemory;

    /// <summary>The arithmetic flags, where translated code has put them while it uses RFLAGS itself: as LAHF and SETO AL leave them in AX.</summary>
    public ulong SavedFlags;
    public ulong Scratch;

    /// <summary>RIP that an indirect call goes to, and the address of the translation.</summary>
    public ulong JumpTarget;
    public ulong JumpCode;

    /// <summary>Guest RAX and RCX while the jump thunks work.</summary>
    public ulong JumpRax;
    public ulong JumpRcx;

    /// <summary>Index of the trapped instruction.</summary>
    public ulong ExitInfo;

    /// <summary>CF, PF, AF, ZF, SF, OF as the host's PUSHFQ delivered them; other bits are to be ignored.</summary>
    public ulong ArithmeticFlags;

    /// <summary>The host's stack pointer in translated code while no call is under way: at the frame below all, which no return matches.</summary>
    public ulong HostStack;

    /// <summary>Not zero: the bus may have an interrupt to deliver, as soon as IF is set.</summary>
    public ulong InterruptRequested;

    /// <summary>Host address that goes with <see cref="ExitCode"/>: behind the call in the stub of the jump to link, or the faulting instruction.</summary>
    public ulong ExitHostPc;

    /// <summary>Host minus linear address of what a translation knows of the stack.</summary>
    public ulong KnownDelta;

    /// <summary>TLBs by <see cref="AddressSpace"/>: user, supervisor, supervisor with EFLAGS.AC. The first begins where one byte still reaches its fields.</summary>
    public NativeTlb UserTlb, SupervisorTlb, SupervisorAcTlb;

    /// <summary>The second-level TLB: <see cref="Mmu.NativePages"/>, then its entries.</summary>
    public Mmu.NativePages* SecondLevel;

    /// <summary>Behind the call by which a translation has asked for what its TLB does not know: where the thunks return is elsewhere.</summary>
    public ulong ResolveCaller;

    /// <summary>What the shift worked on that made the flags last (<see cref="Translate.FlagRecipe"/>).</summary>
    public ulong ShiftedValue;

    /// <summary>Why translated code was left: an <see cref="Translate.ExitCode"/>.</summary>
    public ulong ExitCode;

    /// <summary>Host address minus linear address of what <see cref="SoftwareVcpu.ResolveEntry"/> has found.</summary>
    public ulong ResolvedDelta;

    /// <summary>Where the code region begins.</summary>
    public byte* CodeStart;

    /// <summary>IA32_KERNEL_GS_BASE: what SWAPGS exchanges with the base of GS.</summary>
    public ulong KernelGsBase;

    /// <summary>Added to the host TSC to make the guest's.</summary>
    public ulong TscOffset;

    /// <summary>Standard-format XSAVE area, 64-byte aligned, <see cref="CpuModel.MaxXsaveSize"/> bytes.</summary>
    public byte* Xsave;

    /// <summary>The XSAVE components that translated code saves and loads (guest XCR0-capable ones of the model).</summary>
    public ulong XsaveMask;

    /// <summary>IA32_TSC_AUX: what RDTSCP and RDPID return beside the time.</summary>
    public ulong TscAux;

    /// <summary>As <see cref="CodeCache.CodeGranules.Bias"/>.</summary>
    public ulong GranuleBias;

    /// <summary>x86 vector, error code and address of a host fault in translated code.</summary>
    public ulong FaultTrap;
    public ulong FaultError;
    public ulong FaultAddress;

    /// <summary>The exit thunk, for the fault handler.</summary>
    public byte* ExitThunk;

    /// <summary>GC handle of the <see cref="SoftwareVcpu"/>, for helpers called from emitted code.</summary>
    public nint Handle;

    public NativeLoopPages LoopPages;
    public NativeLoopWindows LoopWindows;

    /// <summary>MXCSR as .NET expects it.</summary>
    public uint HostMxcsr;

    /// <summary>ES, CS, SS, DS, FS, GS.</summary>
    public NativeSegment Es, Cs, Ss, Ds, Fs, Gs;
    public NativeSegment Ldtr, Tr;
    public ulong GdtrBase, IdtrBase;
    public uint GdtrLimit, IdtrLimit;
    public ulong Cr0, Cr2, Cr3, Cr4, Efer, Xcr0;
    public fixed ulong Dr[8];

    /// <summary>What translations take for granted at present. C# sets it, and translated code where it changes privilege level or EFLAGS.AC.</summary>
    public BlockMode Mode;

    /// <summary>
    /// What <see cref="Mode"/> becomes where 64-bit code enters ring 0 or returns to ring 3 without C#; 0: only C# can do it,
    /// for example because the jump cache holds blocks of another mode.
    /// </summary>
    public BlockMode KernelMode, UserMode;

    /// <summary>As <see cref="UserMode"/>, for IRET: 0 also while it would have to make a data segment null.</summary>
    public BlockMode ReturnMode;

    /// <summary>What the last IRET from 64-bit code of ring 0 to ring 3 and to ring 0 loaded.</summary>
    public NativeReturn OuterReturn, InnerReturn;

    /// <summary>The code segment of ring 0 that interrupts and faults were last delivered to, and its descriptor; selector 0: none.</summary>
    public NativeSegment HandlerCs;
    public ulong HandlerDescriptor;
    public ushort HandlerSelector;

    /// <summary>What SYSCALL and SYSRET load in 64-bit mode: made from IA32_STAR.</summary>
    public NativeSegment SyscallCs, SyscallSs, SysretCs, SysretSs;

    /// <summary>IA32_STAR, IA32_LSTAR, IA32_FMASK (SDM vol. 3A, 5.8.8).</summary>
    public ulong Star, Lstar, SyscallMask;

    /// <summary>Not zero: an NMI is being handled; further ones wait for IRET (SDM vol. 3A, 6.7.1).</summary>
    public ulong NmiBlocked;

    /// <summary>Bounce buffer for accesses that cannot go to RAM directly (page-crossing, MMIO); the guest address's alignment is kept.</summary>
    public fixed byte Bounce[1024];

    /// <summary>The pages in the TLBs that are not global, which a change of address space must drop.</summary>
    public NativeFilled UserLocal, SupervisorLocal, SupervisorAcLocal;

    public NativeExecutedPages UserPages, SupervisorPages;

    /// <summary>The entries of the jump caches that are in use.</summary>
    public NativeFilled UserJumpsFilled, SupervisorJumpsFilled, SupervisorAcJumpsFilled;

    public NativeJumpCache UserJumps, SupervisorJumps, SupervisorAcJumps;

    /// <summary>The entries of <see cref="UserSites"/> that are in use.</summary>
    public NativeFilled UserSitesFilled;

    public NativeJumpSites UserSites;

    public NativeFoundBlocks FoundBlocks;

    /// <summary>Has translated code left at its next poll. From any thread.</summary>
    /// <remarks>
    /// Who enters translated code writes <see cref="HostStackEnd"/> and then, after a barrier, looks at the request: it sees
    /// this one's, or is overtaken by the second write here.
    /// </remarks>
    public void RequestExit()
    {
        Volatile.Write(ref ExitRequest, 1);
        Volatile.Write(ref HostStackEnd, ulong.MaxValue);
    }
}
