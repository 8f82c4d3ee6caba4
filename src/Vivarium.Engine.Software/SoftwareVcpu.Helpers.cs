using System.Runtime.InteropServices;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// What translated code calls, through the thunks, for memory that its TLB does not know. Nothing may be thrown out of these.
internal sealed unsafe partial class SoftwareVcpu
{
    private const int BounceAlignment = 64;

    private ulong _bounceLinear;
    private int _bounceSize;

    /// <summary>The pages that the bounce buffer's bytes go to, as they were when the write was allowed: page tables may change meanwhile.</summary>
    private CachedPage _bounceFirst, _bounceLast;

    /// <summary>The address of <see cref="Resolve"/> for emitted code, and so on.</summary>
    internal static delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> ResolveEntry => &Resolve;

    internal static delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> ResolveRunEntry => &ResolveRun;

    internal static delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> ResolveCarefulEntry => &ResolveCareful;

    internal static delegate* unmanaged<NativeState*, void> CommitEntry => &Commit;

    private static SoftwareVcpu Of(NativeState* state) => (SoftwareVcpu)GCHandle.FromIntPtr(state->Handle).Target!;

    /// <summary>A TLB miss. Returns the host address, or null to leave translated code.</summary>
    [UnmanagedCallersOnly]
    private static byte* Resolve(NativeState* state, ulong linear, uint word, ulong returnAddress)
    {
        SoftwareVcpu cpu = Of(state);
        cpu._times?.Enter(VcpuActivity.Monitor);
        cpu.Statistics.Count(ExitCause.TlbMiss);
        byte* host = Resolve(cpu, state, linear, word, returnAddress);
        if (cpu.Statistics.Observer is not null)
        {
            cpu.NoteMiss(linear, returnAddress);
            cpu._times?.Enter(VcpuActivity.Guest);
        }

        return host;
    }

    private static byte* Resolve(SoftwareVcpu cpu, NativeState* state, ulong linear, uint word, ulong returnAddress)
    {
        var info = new AccessInfo(word);
        if (info.Write && (info.Rules & (AccessRules.Aligned | AccessRules.Waiting)) != 0 && cpu.WouldMakeDirty(linear, info.Size))
        {
            cpu.LocateInstruction(returnAddress);
            state->ExitCode = (ulong)ExitCode.Careful;
            return null;
        }

        byte* host = cpu.TryResolve(linear, info.Size, info.Write ? Access.Write : Access.Read, out ResolveResult result, (byte*)returnAddress - 1);
        if (host != null)
        {
            state->ResolvedDelta = (ulong)host - linear;
            return host;
        }

        cpu.LocateInstruction(returnAddress);
        if (result.Kind == ResolveKind.Slow && !info.Write && info.Rules == AccessRules.None && cpu.MayBounceRead(linear, info.Size))
        {
            return cpu.BounceRead(state, linear, info);
        }

        if (result.Kind == ResolveKind.PageFault && (info.Rules & ~AccessRules.BeforeWrite) == 0)
        {
            cpu.RaisePageFault(linear, result.ErrorCode);
            state->ExitCode = (ulong)ExitCode.Fault;
        }
        else
        {
            state->ExitCode = (ulong)ExitCode.Careful;
        }

        return null;
    }

    /// <summary>
    /// As <see cref="Resolve"/>, for all accesses of a run. Null if they are not to one page of plain memory that allows them all, or if a fault
    /// may keep the run from writing to a page that is not dirty yet;
    /// <see cref="RunFault"/> to leave translated code, because already the first is a page fault.
    /// </summary>
    [UnmanagedCallersOnly]
    private static byte* ResolveRun(NativeState* state, ulong linear, uint word, ulong returnAddress)
    {
        SoftwareVcpu cpu = Of(state);
        cpu._times?.Enter(VcpuActivity.Monitor);
        cpu.Statistics.Count(ExitCause.TlbMiss);
        var info = new AccessInfo(word);
        var start = new RunStart(*(ushort*)(Thunks.DataBehindJump((byte*)returnAddress) + sizeof(ushort)));
        byte* host = null;
        ResolveResult result = default;
        if (!(info.Write && start.MayNotWrite && cpu.WouldMakeDirty(linear, info.Size)))
        {
            host = cpu.TryResolve(linear, info.Size, info.Write ? Access.Write : Access.Read, out result, (byte*)returnAddress - 1);
        }

        state->ResolvedDelta = (ulong)host - linear;
        if (host == null && result.Kind == ResolveKind.PageFault && cpu.FaultsFirst(linear, start))
        {
            cpu.LocateInstruction(returnAddress);
            state->ExitCode = (ulong)ExitCode.Fault;
            host = RunFault;
        }

        if (cpu.Statistics.Observer is not null)
        {
            cpu.NoteMiss(linear, returnAddress);
            cpu._times?.Enter(VcpuActivity.Guest);
        }

        return host;
    }

    /// <summary>A write would set the dirty flag of a page, or of the second of two (SDM vol. 3A, 4.8): nobody may write there who does not do so for certain.</summary>
    private bool WouldMakeDirty(ulong linear, int size)
    {
        ulong last = Advance(linear, size - 1);
        return IsClean(linear) || ((linear ^ last) >> GuestMemory.PageShift != 0 && IsClean(last));
    }

    private bool IsClean(ulong linear)
        => (!LongModeActive || IsCanonical(linear))
            && TryTranslate(linear, Access.Read, DataSpace, out CachedPage page, out _) && (page.Rights & PageRights.Dirty) == 0;

    /// <summary>What <see cref="ResolveRun"/> returns for a fault: no host address.</summary>
    internal static byte* RunFault => (byte*)1;

    /// <summary>Raises the page fault of a run's first access, if it is one.</summary>
    /// <param name="lowest">The run's lowest address.</param>
    /// <param name="start">The access.</param>
    private bool FaultsFirst(ulong lowest, RunStart start)
    {
        ulong linear = lowest + start.Offset;
        if (start.Aligned || TryTranslate(linear, start.Write ? Access.Write : Access.Read, DataSpace, out _, out uint errorCode))
        {
            return false;
        }

        RaisePageFault(linear, errorCode);
        return true;
    }

    /// <summary>Any access of a careful translation, given as offset in a segment: with all checks, and a bounce buffer for what is not plain memory.</summary>
    [UnmanagedCallersOnly]
    private static byte* ResolveCareful(NativeState* state, ulong offset, uint word, ulong returnAddress)
    {
        SoftwareVcpu cpu = Of(state);
        cpu._times?.Enter(VcpuActivity.Monitor);
        byte* host = ResolveCareful(cpu, state, offset, word, returnAddress);
        cpu._times?.Enter(VcpuActivity.Guest);
        return host;
    }

    private static byte* ResolveCareful(SoftwareVcpu cpu, NativeState* state, ulong offset, uint word, ulong returnAddress)
    {
        var info = new AccessInfo(word);
        Access access = info.Write ? Access.Write : Access.Read;

        // An instruction that the host refused may have left something there.
        cpu._bounceSize = 0;
        try
        {
            cpu.CheckBeforePaging(offset, info);
            if ((info.Rules & AccessRules.Masked) != 0)
            {
                cpu.LocateInstruction(returnAddress);
                return cpu.BounceMasked(offset, info.Segment, info.Size, info.Read, info.Write);
            }

            ulong linear = cpu.SegmentedAddress(info.Segment, offset, info.Size, access);
            cpu.CheckAlignment(linear, info.Size);
            cpu.NoteDataBreakpoints(linear, info.Size, info.Write);
            byte* host = cpu.TryResolve(linear, info.Size, access, out ResolveResult result);
            if (host != null)
            {
                return host;
            }

            if (result.Kind == ResolveKind.PageFault)
            {
                cpu.RaisePageFault(linear, result.ErrorCode);
            }
            else
            {
                return cpu.Bounce(linear, info);
            }
        }
        catch (GuestException fault)
        {
            cpu.Raise(fault.Vector, fault.ErrorCode);
        }

        cpu.LocateInstruction(returnAddress);
        state->ExitCode = (ulong)ExitCode.Fault;
        return null;
    }

    /// <summary>A careful instruction has written: to the bounce buffer, perhaps.</summary>
    [UnmanagedCallersOnly]
    private static void Commit(NativeState* state)
    {
        SoftwareVcpu cpu = Of(state);
        int size = cpu._bounceSize;
        if (size == 0)
        {
            return;
        }

        cpu._times?.Enter(VcpuActivity.Monitor);
        cpu._bounceSize = 0;
        byte* bounce = cpu.BounceFor(cpu._bounceLinear);
        int element = cpu._bounceElementSize;
        for (int i = 0; i < size / element; i++)
        {
            if ((cpu._bounceElements >> i & 1) != 0)
            {
                cpu.StoreBounced(cpu.Advance(cpu._bounceLinear, i * element), new ReadOnlySpan<byte>(bounce + (i * element), element));
            }
        }

        cpu._times?.Enter(VcpuActivity.Guest);
    }

    /// <summary>Nothing but its pages decides about the access: it neither wraps nor leaves the canonical addresses, and no debugger waits for it.</summary>
    private bool MayBounceRead(ulong linear, int size)
        => _watchpoints.Length == 0 && _code.Options.Has(Optimizations.BouncedReads)
            && (LongModeActive ? IsCanonical(linear + (uint)size - 1) : linear + (uint)size <= uint.MaxValue);

    /// <summary>A read of what is not plain memory: nothing has to be done after the instruction, so it needs no careful translation.</summary>
    private byte* BounceRead(NativeState* state, ulong linear, AccessInfo info)
    {
        try
        {
            long counted = CountedInCareful;
            byte* bounce = Bounce(linear, info);
            state->ResolvedDelta = (ulong)bounce - linear;
            if (counted == CountedInCareful)
            {
                Statistics.Count(ExitCause.SlowAccess);
            }

            return bounce;
        }
        catch (GuestException fault)
        {
            Raise(fault.Vector, fault.ErrorCode);
            state->ExitCode = (ulong)ExitCode.Fault;
            return null;
        }
    }

    private byte* Bounce(ulong linear, AccessInfo info)
    {
        byte* bounce = BounceFor(linear);
        _bounceLinear = linear;
        if (info.Write)
        {
            ProbeBounced(linear, info.Size);
        }

        if (info.Read)
        {
            LoadBytes(linear, new Span<byte>(bounce, info.Size));
        }

        _bounceSize = info.Write ? info.Size : 0;
        _bounceElements = 1;
        _bounceElementSize = info.Size;
        return bounce;
    }

    /// <summary>Checks that bytes of the operand at <see cref="_bounceLinear"/> can be written, and remembers where they go.</summary>
    private void ProbeBounced(ulong linear, int size)
    {
        ulong first = _bounceLinear >> GuestMemory.PageShift;
        for (int left = size; left > 0;)
        {
            (linear >> GuestMemory.PageShift == first ? ref _bounceFirst : ref _bounceLast) = Translate(linear, Access.Write, DataSpace);
            int part = (int)(GuestMemory.PageSize - (linear & GuestMemory.PageMask));
            left -= part;
            linear = Advance(linear, part);
        }
    }

    private void StoreBounced(ulong linear, ReadOnlySpan<byte> data)
    {
        NoteWhenStepping(linear, data.Length, write: true);
        while (!data.IsEmpty)
        {
            ulong offset = linear & GuestMemory.PageMask;
            int part = (int)Math.Min((ulong)data.Length, GuestMemory.PageSize - offset);
            WritePart((linear ^ _bounceLinear) >> GuestMemory.PageShift == 0 ? _bounceFirst : _bounceLast, offset, data[..part]);
            data = data[part..];
            linear = Advance(linear, part);
        }
    }

    /// <summary>A place in the bounce buffer with the alignment of a linear address.</summary>
    private byte* BounceFor(ulong linear)
    {
        ulong aligned = ((ulong)S->Bounce + BounceAlignment - 1) & ~(BounceAlignment - 1ul);
        return (byte*)(aligned + (linear & (BounceAlignment - 1)));
    }

    /// <summary>What an access reports before anything about its address: #MF for a pending x87 exception (SDM vol. 1, 8.1.3.3), #GP for a misaligned SSE operand.</summary>
    private void CheckBeforePaging(ulong offset, AccessInfo info)
    {
        if ((info.Rules & AccessRules.Waiting) != 0)
        {
            CheckPendingX87();
        }

        ulong @base = Code64 && info.Segment < 4 ? 0 : Segment(info.Segment)->Base;
        if ((info.Rules & AccessRules.Aligned) != 0 && ((@base + offset) & (ulong)(info.Size - 1)) != 0 && !IsUnaccessed(info))
        {
            throw GuestException.Protection();
        }
    }

    /// <summary>#MF if an unmasked x87 exception is pending, as all waiting x87 and MMX instructions report first.</summary>
    internal void CheckPendingX87()
    {
        const int statusWord = 2;
        const int errorSummary = 1 << 7;
        if ((S->Xsave[XstateBvOffset] & 1) != 0 && (S->Xsave[statusWord] & errorSummary) != 0)
        {
            throw new GuestException(Vector.X87);
        }
    }

    /// <summary>EFLAGS.AC with CR0.AM at CPL 3: #AC for a misaligned access (SDM vol. 3A, 6.15, interrupt 17).</summary>
    private void CheckAlignment(ulong linear, int size)
    {
        if (Cpl == 3 && S->Cr0.Has(Cr0Bits.Am) && S->SystemFlags.Has(RflagsBits.Ac)
            && size is 2 or 4 or 8 && (linear & (ulong)(size - 1)) != 0)
        {
            throw new GuestException(Vector.AlignmentCheck, 0);
        }
    }

    /// <summary>The arithmetic flags that translated code has put aside: AH of LAHF, and OF in bit 0.</summary>
    private ulong FlagsAsSaved => ((S->SavedFlags >> 8) & 0xFF) | ((S->SavedFlags & 1) != 0 ? RflagsBits.Of : 0);

    /// <summary>S-&gt;Rip = the instruction whose translation holds a return address.</summary>
    private void LocateInstruction(ulong returnAddress)
    {
        S->Rip = BlockAt(returnAddress).RipAt((byte*)returnAddress - 1, S->CodePage);
    }

    /// <summary>The block, whether still valid or not, that a call has left.</summary>
    private Block BlockAt(ulong returnAddress)
    {
        Block block = _code.FindByAddress((byte*)returnAddress - 1);
        return block.Exists ? block : throw new InvalidOperationException("a helper called from nowhere");
    }
}
