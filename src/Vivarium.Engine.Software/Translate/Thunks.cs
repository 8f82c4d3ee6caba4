using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// The emitted routines between C# and translated code. They stand at the start of each code region.
/// In translated code the host stack pointer is 16-byte aligned, at the frames of calls under way, and the guest's registers are as
/// <see cref="HostRegister"/> says; in C# the whole guest state is in the state block.
/// </summary>
internal sealed unsafe class Thunks
{
    /// <summary>A guest call under way takes 16 bytes of the host's stack, so its alignment stays.</summary>
    private const int FrameSize = 16;
    private const int MostFrames = 1024;

    private const int ShortJump = 0xEB;
    private const int BriefWrite = 1, BriefSaved = 2, BriefAddress = 4, BriefKinds = 8, RunKinds = 4;
    /// <summary>The bytes of such a write lie in two granules at most.</summary>
    private const int LargestBesideCode = 1 << CodeGranules.GranuleShift;

    /// <summary>Behind the call of <see cref="ResolveBrief"/> stands the jump back, short or near.</summary>
    public const int ShortJumpSize = 2, NearJumpSize = 5;

    private static readonly int[] CalleeSaved = [Rbx, Rbp, 12, 13, 14, 15];

    private readonly Emitter _e;
    private readonly bool _avx;
    private readonly bool _besideCode;
    private readonly SecondLevelSearch? _secondLevel;
    private readonly nint[] _resolve;
    private readonly nint[] _resolveBrief;
    private readonly nint[] _resolveRun;
    private readonly nint[] _resolveOnStack = new nint[(int)AddressSpace.SupervisorAc * RunKinds];
    private readonly nint[] _resolveRunOnStack = new nint[(int)AddressSpace.SupervisorAc * RunKinds];
    private readonly nint[] _exitWith = new nint[(int)ExitCode.CarefulDone + 1];

    public Thunks(Emitter emitter, bool avx, delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> resolve,
        delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> resolveRun, delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> resolveCareful, delegate* unmanaged<NativeState*, void> commit, int spaces, EngineOptions options, bool alone)
    {
        _e = emitter;
        _avx = avx;
        _besideCode = options.Has(Optimizations.BesideCode);

        // The header of no block, where empty entries of NativeFoundBlocks lead.
        _e.Bytes(new byte[BlockHeader.Size]);
        PageWalkThunk? walk = options.Has(Optimizations.PageWalks) ? new PageWalkThunk(emitter) : null;
        _secondLevel = options.Has(Optimizations.SecondLevelTlb) ? new SecondLevelSearch(emitter, alone, walk) : null;
        Leave = EmitLeave();
        Exit = EmitExit();
        for (int code = 0; code < _exitWith.Length; code++)
        {
            _exitWith[code] = (nint)EmitExitWith((ExitCode)code);
        }

        Enter = (delegate* unmanaged<NativeState*, byte*, void>)EmitEnter(EmitReturnToZero());
        Link = EmitWithAddress(ExitCode.Link);
        LinkApart = EmitWithAddress(ExitCode.LinkApart);
        Changed = EmitWithAddress(ExitCode.Changed);
        Poll = EmitWithAddress(ExitCode.Poll);
        PollWithSavedFlags = _e.Here;
        _e.RestoreFlags(T2);
        _e.Jmp(Poll);
        PollWithRcxInT1 = _e.Here;
        _e.MovRr(Rcx, T1);
        _e.Jmp(Poll);
        PollAtTargetWithSavedFlags = _e.Here;
        _e.RestoreFlags(T2);
        PollAtTarget = _e.Here;
        _e.LoadState(T1, StateOffset.JumpTarget);
        _e.StoreState(StateOffset.Rip, T1);
        _e.Jmp(ExitWith(ExitCode.PollAtTarget));
        LoadExtendedWithRcxInT1 = _e.Here;
        _e.MovRr(Rcx, T1);
        byte* load = _e.ShortForward(ShortJump);
        LoadExtendedWithSavedFlags = _e.Here;
        _e.RestoreFlags(T2);
        _e.LandShort(load);
        LoadExtended = EmitLoadExtended();
        byte* common = EmitResolve((byte*)resolve, Leave, callerIsNoted: true);
        _resolve = new nint[spaces * 2];
        var unnoted = new nint[spaces * 2];
        for (int i = 0; i < _resolve.Length; i++)
        {
            unnoted[i] = (nint)EmitMiss((AddressSpace)(i / 2), write: (i & 1) != 0, common);
            _resolve[i] = (nint)EmitNoteCaller((byte*)unnoted[i]);
        }

        _resolveBrief = new nint[spaces * BriefKinds];
        for (int i = 0; i < _resolveBrief.Length; i++)
        {
            bool write = (i & BriefWrite) != 0;
            _resolveBrief[i] = (nint)EmitBrief(write, saved: (i & BriefSaved) != 0, address: (i & BriefAddress) != 0, (byte*)unnoted[((i / BriefKinds) * 2) + (write ? 1 : 0)]);
        }

        byte* refused = EmitRunRefused();
        byte* commonRun = EmitResolve((byte*)resolveRun, refused, callerIsNoted: true, SoftwareVcpu.RunFault);
        _resolveRun = new nint[spaces * RunKinds];
        var stackPage = new StackPageThunk(emitter, alone);
        for (int i = 0; i < _resolveRun.Length; i++)
        {
            var space = (AddressSpace)(i / RunKinds);
            bool write = (i & BriefWrite) != 0;
            if ((i & BriefSaved) == 0)
            {
                byte* resolveRunIn = EmitRunChecks(space, write, refused, EmitMiss(space, write, commonRun));
                _resolveRun[i] = (nint)EmitBrief(write, saved: false, address: false, resolveRunIn);
                _resolveRun[i | BriefSaved] = (nint)EmitBrief(write, saved: true, address: false, resolveRunIn);
                if (space != AddressSpace.SupervisorAc)
                {
                    byte* onStack = stackPage.Emit(space, write, (byte*)unnoted[((int)space * 2) + (write ? 1 : 0)]);
                    _resolveOnStack[i] = (nint)EmitBrief(write, saved: false, address: false, onStack);
                    _resolveOnStack[i | BriefSaved] = (nint)EmitBrief(write, saved: true, address: false, onStack);
                    onStack = stackPage.Emit(space, write, resolveRunIn);
                    _resolveRunOnStack[i] = (nint)EmitBrief(write, saved: false, address: false, onStack);
                    _resolveRunOnStack[i | BriefSaved] = (nint)EmitBrief(write, saved: true, address: false, onStack);
                }
            }
        }

        ResolveCareful = EmitResolve((byte*)resolveCareful, Leave, callerIsNoted: false);
        Commit = EmitCommit((byte*)commit);
        Strings = new StringThunks(emitter, ExitWith(ExitCode.Trap), _secondLevel, spaces);
        Jumps = new JumpThunks(emitter, ExitWith(ExitCode.Jump), options, options.Has(Optimizations.FetchWalks) ? walk : null, spaces);
        System = new SystemThunks(emitter, Jumps, ExitWith(ExitCode.Dispatch), ExitWith(ExitCode.Trap), options.Has(Optimizations.InnerReturns));
    }

    /// <summary>C#: enters translated code; returns when it exits.</summary>
    public delegate* unmanaged<NativeState*, byte*, void> Enter { get; }

    /// <summary>Jumped to from translated code: saves everything and returns to C#. S-&gt;ExitCode is set.</summary>
    public byte* Exit { get; }

    /// <summary>As <see cref="Exit"/>, and sets S-&gt;ExitCode.</summary>
    public byte* ExitWith(ExitCode code) => (byte*)_exitWith[(int)code];

    /// <summary>Called from the stub of a jump that is not linked: exits with the return address in S-&gt;ExitHostPc. All that is called and does not return does so.</summary>
    public byte* Link { get; }

    /// <summary>As <see cref="Link"/>, for <see cref="ExitCode.LinkApart"/>.</summary>
    public byte* LinkApart { get; }

    /// <summary>Called from a block that finds the guest's bytes changed: exits in the same way.</summary>
    public byte* Changed { get; }

    /// <summary>Called where a poll has seen a request, before 32 bits for <see cref="ExitCode.Poll"/>.</summary>
    public byte* Poll { get; }

    public byte* PollWithSavedFlags { get; }

    public byte* PollWithRcxInT1 { get; }

    /// <summary>Jumped to where a poll has seen a request, to go on at S-&gt;JumpTarget.</summary>
    public byte* PollAtTarget { get; }

    public byte* PollAtTargetWithSavedFlags { get; }

    /// <summary>Called from translated code: brings x87 and vector state into the host's registers, or exits (#NM). T1 and T2 are lost.</summary>
    public byte* LoadExtended { get; }

    /// <summary>As <see cref="LoadExtended"/>, with the flags saved, which are in RFLAGS afterwards.</summary>
    public byte* LoadExtendedWithSavedFlags { get; }

    public byte* LoadExtendedWithRcxInT1 { get; }

    /// <summary>
    /// Called on a TLB miss: T1 = linear address XOR the tag of entry T2, the flags saved, S-&gt;ExitInfo = access description.
    /// Returns with T1 = host address and T2 = host minus linear address, or exits.
    /// </summary>
    public byte* Resolve(AddressSpace space, bool write) => (byte*)_resolve[((int)space * 2) + (write ? 1 : 0)];

    /// <summary>
    /// As <see cref="Resolve"/>, with no need to set S-&gt;ExitInfo: behind the call stands the jump by which it goes on, so that the host
    /// predicts the return, and an <see cref="AccessInfo.Brief"/>.
    /// </summary>
    /// <param name="space">With whose rights.</param>
    /// <param name="write">It is a write.</param>
    /// <param name="saved">False: the flags are in RFLAGS, and will be saved.</param>
    /// <param name="address">The operand is at T1 + T2: T2 comes back as zero.</param>
    public byte* ResolveBrief(AddressSpace space, bool write, bool saved, bool address)
        => (byte*)_resolveBrief[((int)space * BriefKinds) + (write ? BriefWrite : 0) + (saved ? BriefSaved : 0) + (address ? BriefAddress : 0)];

    /// <summary>
    /// As <see cref="ResolveBrief"/>, for all accesses of a run. Where they are not to one page of plain memory that allows them
    /// all, goes on behind what it is told, which ends with a <see cref="RunStart"/>, with the flags in RFLAGS.
    /// </summary>
    /// <param name="space">With whose rights.</param>
    /// <param name="write">There is a write among them.</param>
    /// <param name="saved">False: the flags are in RFLAGS, and will be saved.</param>
    public byte* ResolveRun(AddressSpace space, bool write, bool saved) => (byte*)_resolveRun[RunIndex(space, write, saved)];

    /// <summary>As <see cref="ResolveBrief"/>, for an access that is not to the <see cref="NativeStackPage"/>: T1 = linear address XOR the tag there.</summary>
    public byte* ResolveOnStack(AddressSpace space, bool write, bool saved) => (byte*)_resolveOnStack[RunIndex(space, write, saved)];

    /// <summary>As <see cref="ResolveRun"/>, for accesses that are not to the <see cref="NativeStackPage"/>: T1 as for <see cref="ResolveOnStack"/>.</summary>
    public byte* ResolveRunOnStack(AddressSpace space, bool write, bool saved) => (byte*)_resolveRunOnStack[RunIndex(space, write, saved)];

    /// <summary>Called with T1 = offset in a segment, T2 = access description: as <see cref="Resolve"/>, but never refuses what can be done at all.</summary>
    public byte* ResolveCareful { get; }

    /// <summary>Called after a careful instruction that wrote: carries out what went to the bounce buffer.</summary>
    public byte* Commit { get; }

    public StringThunks Strings { get; }

    public JumpThunks Jumps { get; }

    public SystemThunks System { get; }

    private static int RunIndex(AddressSpace space, bool write, bool saved) => ((int)space * RunKinds) + (write ? BriefWrite : 0) + (saved ? BriefSaved : 0);

    /// <summary>Everything saved already: returns to C#.</summary>
    private byte* Leave { get; }

    /// <summary>The frame below all calls has RIP 0: should the guest return there, it is not known where that is.</summary>
    private byte* EmitReturnToZero()
    {
        byte* start = _e.Here;
        _e.StoreState(StateOffset.Rip, T1);
        _e.Jmp(ExitWith(ExitCode.Dispatch));
        return start;
    }

    private byte* EmitEnter(byte* lowestReturn)
    {
        byte* start = _e.Here;
        foreach (int reg in CalleeSaved)
        {
            _e.Push(reg);
        }

        _e.Rr(0x83, 5, Rsp);            // sub rsp, 8
        _e.Byte(8);
        _e.Lea(State, Rdi, StateOffset.Bias);
        _e.MovRr(T1, Rsi);
        _e.PushImm(0);
        _e.LeaHost(Rax, lowestReturn);
        _e.Push(Rax);
        _e.StoreState(StateOffset.HostStack, Rsp);
        _e.Lea(Rax, Rsp, -FrameSize * MostFrames);
        _e.Rm(0x87, Rax, State, StateOffset.HostStackEnd); // xchg, a barrier: NativeState.RequestExit
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        byte* none = _e.ShortForward(0x74);
        _e.StoreStateImm(StateOffset.HostStackEnd, ulong.MaxValue);
        _e.LandShort(none);
        LoadGuest();
        _e.Rr(0xFF, 4, T1, wide: false); // jmp T1
        return start;
    }

    private byte* EmitLeave()
    {
        byte* start = _e.Here;
        _e.LoadState(Rsp, StateOffset.HostStack);
        _e.Rr(0x83, 0, Rsp);            // add rsp
        _e.Byte(FrameSize + 8);
        for (int i = CalleeSaved.Length - 1; i >= 0; i--)
        {
            _e.Pop(CalleeSaved[i]);
        }

        _e.Byte(0xC3);
        return start;
    }

    private byte* EmitExit()
    {
        byte* start = _e.Here;
        SaveGuest();
        _e.CmpStateImm8(StateOffset.ExtendedInMemory, 0);
        byte* inMemory = _e.JumpForward(5);
        SaveExtended();
        _e.Land(inMemory);
        _e.Jmp(Leave);
        return start;
    }

    private byte* EmitExitWith(ExitCode code)
    {
        byte* start = _e.Here;
        _e.StoreStateImm(StateOffset.ExitCode, (ulong)code);
        _e.Jmp(Exit);
        return start;
    }

    private byte* EmitWithAddress(ExitCode code)
    {
        byte* start = _e.Here;
        _e.Rm(0x8F, 0, State, StateOffset.ExitHostPc, wide: false); // pop
        _e.Jmp(ExitWith(code));
        return start;
    }

    private byte* EmitLoadExtended()
    {
        byte* start = _e.Here;
        _e.StoreState(StateOffset.Scratch, Rax);
        _e.MovRr(T1, Rcx);
        _e.MovRr(T2, Rdx);
        _e.Byte(0x9C);                  // pushfq
        _e.Rm(0xF7, 0, State, StateOffset.Cr0, wide: false); // test dword cr0, TS | EM
        _e.Dword((int)(Cr0Bits.Ts | Cr0Bits.Em));
        byte* refused = _e.JumpForward(5);
        XsaveOperands();
        _e.Bytes([0x48, 0x0F, 0xAE, 0x29]); // xrstor64 [rcx]
        _e.StoreStateImm(StateOffset.ExtendedInMemory, 0);
        _e.Byte(0x9D);                  // popfq
        RestoreScratch();
        _e.Byte(0xC3);
        _e.Land(refused);
        _e.Byte(0x9D);
        RestoreScratch();
        _e.Rm(0x8F, 0, State, StateOffset.ExitHostPc, wide: false); // pop
        _e.Jmp(ExitWith(ExitCode.DeviceNotAvailable));
        return start;
    }

    private byte* EmitNoteCaller(byte* resolve)
    {
        byte* start = _e.Here;
        _e.Push(Rax);
        _e.Load(Rax, Rsp, sizeof(ulong));
        _e.StoreState(StateOffset.ResolveCaller, Rax);
        _e.Pop(Rax);
        _e.Jmp(resolve);
        return start;
    }

    /// <param name="write">It is a write.</param>
    /// <param name="saved">The flags are saved already.</param>
    /// <param name="address">T2 is to be zero at the end.</param>
    /// <param name="resolve">What does the work, with S-&gt;ExitInfo and S-&gt;ResolveCaller set.</param>
    private byte* EmitBrief(bool write, bool saved, bool address, byte* resolve)
    {
        const int returnAddress = 2 * sizeof(ulong);
        byte* start = _e.Here;
        if (!saved)
        {
            _e.SaveFlagsByStack();
        }

        _e.Push(Rax);
        _e.Push(Rcx);
        _e.Load(Rax, Rsp, returnAddress);
        _e.StoreState(StateOffset.ResolveCaller, Rax);
        EmitPassJump();
        _e.Rm(0x0FB7, Rax, Rax, 0, wide: false); // movzx
        _e.Mov32Rr(Rcx, Rax);
        _e.Rr(0xC1, 5, Rcx, wide: false);       // shr
        _e.Byte(AccessInfo.BriefRulesShift);
        _e.Rr(0xC1, 4, Rcx, wide: false);       // shl
        _e.Byte(AccessInfo.RulesShift);
        _e.Rr(0x81, 4, Rax, wide: false);       // and
        _e.Dword((1 << AccessInfo.BriefRulesShift) - 1);
        _e.Rx(0x8D, Rax, Rax, Rcx, 0, (int)(write ? AccessInfo.WriteBit : AccessInfo.ReadBit), wide: false); // lea
        _e.Store(State, StateOffset.ExitInfo, Rax, wide: false);
        _e.Pop(Rcx);
        _e.Pop(Rax);
        if (!address)
        {
            _e.Jmp(resolve);
            return start;
        }

        // Eight bytes more, so that the stack is aligned in what is called as in what is jumped to.
        _e.Lea(Rsp, Rsp, -sizeof(ulong));
        _e.Call(resolve);
        _e.Lea(Rsp, Rsp, sizeof(ulong));
        _e.Rr(0x31, T2, T2, wide: false);       // xor
        _e.Byte(0xC3);
        return start;
    }

    /// <summary>What stands behind the jump at a call's return address.</summary>
    public static byte* DataBehindJump(byte* returnAddress) => returnAddress + (*returnAddress == ShortJump ? ShortJumpSize : NearJumpSize);

    /// <summary>As <see cref="DataBehindJump"/>, of RAX. RCX is lost.</summary>
    private void EmitPassJump()
    {
        // The opcodes EBH and E9H differ in bit 1.
        _e.Rm(0x0FB6, Rcx, Rax, 0, wide: false); // movzx
        _e.Rr(0xC1, 5, Rcx, wide: false);       // shr
        _e.Byte(1);
        _e.Rr(0x83, 4, Rcx, wide: false);       // and
        _e.Byte(1);
        _e.Rx(0x8D, Rcx, Rcx, Rcx, 1, 0, wide: false); // lea: 3 if it is short
        _e.Rr(0x29, Rcx, Rax);                  // sub
        _e.Lea(Rax, Rax, NearJumpSize);
    }

    /// <summary>The caller of <see cref="ResolveRun"/> goes on behind what it told. By a return, so that the host's prediction stays in step with the guest's calls.</summary>
    private byte* EmitRunRefused()
    {
        byte* start = _e.Here;
        _e.Push(Rax);
        _e.Push(Rcx);
        _e.LoadState(Rax, StateOffset.ResolveCaller);
        EmitPassJump();
        _e.Lea(T2, Rax, sizeof(ushort) + sizeof(RunStart));
        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.Store(Rsp, 0, T2);
        _e.RestoreFlags(T2);
        _e.Byte(0xC3);
        return start;
    }

    /// <summary>What crosses pages, or what is too wide for a look beside which code it would write, is not for the monitor. In and out as <see cref="Resolve"/>.</summary>
    private byte* EmitRunChecks(AddressSpace space, bool write, byte* refused, byte* resolve)
    {
        int tlb = StateOffset.Tlb(space);
        byte* start = _e.Here;
        _e.Push(Rax);
        _e.Push(Rcx);
        _e.TlbField(0x8B, Rax, tlb, T2, NativeTlbEntry.TagOffset(write));
        _e.Rr(0x31, T1, Rax, wide: false);      // xor: the lower half of the address
        _e.Rr(0x81, 4, Rax, wide: false);       // and
        _e.Dword((int)GuestMemory.PageMask);
        _e.Rm(0x0FB7, Rcx, State, StateOffset.ExitInfo, wide: false); // movzx: the size
        _e.Rr(0x01, Rcx, Rax, wide: false);     // add
        _e.Rr(0x81, 7, Rax, wide: false);       // cmp
        _e.Dword((int)GuestMemory.PageSize);
        byte* crosses = _e.JumpForward(7);
        byte* tooWide = null;
        if (write && _besideCode)
        {
            _e.Rx(0xF6, 0, State, T2, 0, tlb + NativeTlbEntry.WriteTagOffset, wide: false); // test byte
            _e.Byte(FirstLevelTlb.BesideMark);
            byte* notBeside = _e.ShortForward(0x74);
            _e.Rr(0x83, 7, Rcx, wide: false);   // cmp
            _e.Byte(LargestBesideCode);
            tooWide = _e.JumpForward(7);
            _e.LandShort(notBeside);
        }

        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.Jmp(resolve);
        _e.Land(crosses);
        if (tooWide != null)
        {
            _e.Land(tooWide);
        }

        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.Jmp(refused);
        return start;
    }

    /// <summary>Undoes what the check has done to the address and the flags.</summary>
    private byte* EmitMiss(AddressSpace space, bool write, byte* resolve)
    {
        byte* undo = _e.Here;
        _e.TlbField(0x33, T1, StateOffset.Tlb(space), T2, NativeTlbEntry.TagOffset(write)); // xor
        _secondLevel?.Emit(space, write);
        _e.RestoreFlags(T2);
        _e.Load(T2, State, StateOffset.ExitInfo, wide: false);
        _e.Jmp(resolve);
        return write && _besideCode ? EmitWriteBesideCode(space, undo) : undo;
    }

    /// <summary>
    /// A write to a page with code (<see cref="FirstLevelTlb.BesideTag"/>) that touches no granule with code needs no monitor.
    /// In: as <see cref="Resolve"/>. One that does, and all else, goes to <paramref name="refused"/> as it came.
    /// </summary>
    private byte* EmitWriteBesideCode(AddressSpace space, byte* refused)
    {
        int tlb = StateOffset.Tlb(space);

        byte* notBeside = _e.Here;
        Toggle();
        _e.Jmp(refused);
        byte* touched = _e.Here;
        _e.Pop(Rdx);
        _e.Pop(Rcx);
        _e.Jmp(notBeside);
        byte* tooFar = _e.Here;
        _e.Pop(Rcx);
        _e.Jmp(notBeside);

        byte* start = _e.Here;
        _e.Rx(0xF6, 0, State, T2, 0, tlb + NativeTlbEntry.WriteTagOffset, wide: false); // test byte [tag], BesideMark
        _e.Byte(FirstLevelTlb.BesideMark);
        _e.Jcc(4, refused);
        Toggle();                       // T1 = offset in the page, if it is the page
        _e.Push(Rcx);
        _e.Rm(0x0FB7, Rcx, State, StateOffset.ExitInfo, wide: false); // movzx: the size
        _e.Rr(0x83, 7, Rcx, wide: false); // cmp
        _e.Byte(LargestBesideCode);
        _e.Jcc(7, tooFar);
        _e.Rx(0x8D, Rcx, T1, Rcx, 0, -1); // lea: the last byte
        _e.Rr(0x81, 7, Rcx);            // cmp
        _e.Dword((int)GuestMemory.PageMask);
        _e.Jcc(7, tooFar);
        _e.Push(Rdx);
        _e.TlbField(0x8B, Rdx, tlb, T2, NativeTlbEntry.HostPageOffset);
        _e.Rr(0xC1, 5, Rdx);            // shr
        _e.Byte(CodeGranules.PageToWordShift);
        _e.Rm(0x03, Rdx, State, StateOffset.GranuleBias);
        _e.Load(Rdx, Rdx, 0);
        _e.Rr(0x85, Rdx, Rdx);          // test: no code any more, so an ordinary tag is due
        _e.Jcc(4, touched);
        _e.Rr(0xC1, 5, Rcx, wide: false); // shr
        _e.Byte(CodeGranules.GranuleShift);
        _e.Rr(0x0FA3, Rcx, Rdx);        // bt rdx, rcx
        _e.Jcc(2, touched);
        _e.Mov32Rr(Rcx, T1);
        _e.Rr(0xC1, 5, Rcx, wide: false);
        _e.Byte(CodeGranules.GranuleShift);
        _e.Rr(0x0FA3, Rcx, Rdx);
        _e.Jcc(2, touched);
        _e.Pop(Rdx);
        _e.Pop(Rcx);
        _e.TlbField(0x03, T1, tlb, T2, NativeTlbEntry.HostPageOffset); // add
        _e.TlbField(0x8B, T2, tlb, T2, NativeTlbEntry.DeltaOffset);
        _e.Byte(0xC3);
        return start;

        void Toggle()
        {
            _e.Rr(0x0FBA, 7, T1);       // btc
            _e.Byte(FirstLevelTlb.BesideBit);
            _e.Rr(0x83, 6, T1);         // xor
            _e.Byte(FirstLevelTlb.BesideMark);
        }
    }

    /// <param name="helper">The helper in C#.</param>
    /// <param name="refused">Where to go on if it returns null: with everything saved, or, unless that is to leave, loaded again.</param>
    /// <param name="callerIsNoted">In S-&gt;ResolveCaller; else it is where this returns.</param>
    /// <param name="leaves">What the helper returns to leave translated code; null: nothing else than that.</param>
    private byte* EmitResolve(byte* helper, byte* refused, bool callerIsNoted, byte* leaves = null)
    {
        byte* start = _e.Here;
        SaveGuest();
        _e.LoadState(Rbx, StateOffset.ExtendedInMemory);
        _e.Rr(0x85, Rbx, Rbx);          // test rbx, rbx
        byte* inMemory = _e.JumpForward(5);
        SaveExtended();
        _e.Land(inMemory);
        _e.Lea(Rdi, State, -StateOffset.Bias);
        _e.MovRr(Rsi, T1);
        _e.Mov32Rr(Rdx, T2);
        if (callerIsNoted)
        {
            _e.LoadState(Rcx, StateOffset.ResolveCaller);
        }
        else
        {
            _e.Load(Rcx, Rsp, 0);
        }

        CallAligned(helper);
        _e.MovRr(T1, Rax);
        _e.Rr(0x85, Rax, Rax);
        byte* failed = _e.JumpForward(4);
        if (leaves != null)
        {
            _e.Rr(0x83, 7, Rax);                // cmp
            _e.Byte((int)leaves);
            _e.Jcc(4, Leave);
        }

        ReloadExtendedUnlessInMemory();
        LoadGuest();
        _e.LoadState(T2, StateOffset.ResolvedDelta);
        _e.Byte(0xC3);
        _e.Land(failed);
        if (refused != Leave)
        {
            ReloadExtendedUnlessInMemory();
            LoadGuest();
        }

        _e.Jmp(refused);
        return start;
    }

    private byte* EmitCommit(byte* helper)
    {
        byte* start = _e.Here;
        SaveGuest();
        _e.LoadState(Rbx, StateOffset.ExtendedInMemory);
        _e.Rr(0x85, Rbx, Rbx);
        byte* inMemory = _e.JumpForward(5);
        SaveExtended();
        _e.Land(inMemory);
        _e.Lea(Rdi, State, -StateOffset.Bias);
        CallAligned(helper);
        ReloadExtendedUnlessInMemory();
        LoadGuest();
        _e.Byte(0xC3);
        return start;
    }

    /// <summary>Calls C# from inside a called thunk: the return address has misaligned the stack by 8.</summary>
    private void CallAligned(byte* helper)
    {
        _e.Rr(0x83, 5, Rsp);
        _e.Byte(8);
        _e.MovImm(Rax, (ulong)helper);
        _e.Rr(0xFF, 2, Rax, wide: false);
        _e.Rr(0x83, 0, Rsp);
        _e.Byte(8);
    }

    /// <summary>RBX (callee-saved, so the helper kept it) says whether the extended state had been in registers.</summary>
    private void ReloadExtendedUnlessInMemory()
    {
        _e.Rr(0x85, Rbx, Rbx);
        byte* skip = _e.JumpForward(5);
        XsaveOperands();
        _e.Bytes([0x48, 0x0F, 0xAE, 0x29]); // xrstor64 [rcx]
        _e.StoreStateImm(StateOffset.ExtendedInMemory, 0);
        _e.Land(skip);
    }

    private void RestoreScratch()
    {
        _e.MovRr(Rcx, T1);
        _e.MovRr(Rdx, T2);
        _e.LoadState(Rax, StateOffset.Scratch);
    }

    private void SaveGuest()
    {
        for (int guest = 0; guest < 12; guest++)
        {
            _e.StoreState(StateOffset.Gpr(guest), Of(guest));
        }

        _e.Byte(0x9C);                  // pushfq
        _e.Rm(0x8F, 0, State, StateOffset.ArithmeticFlags, wide: false); // pop
    }

    private void LoadGuest()
    {
        _e.Rm(0xFF, 6, State, StateOffset.ArithmeticFlags, wide: false); // push
        _e.Bytes([0x48, 0x81, 0x24, 0x24]); // and qword [rsp], arithmetic flags: never load TF, DF, AC
        _e.Dword((int)RflagsBits.Arithmetic);
        _e.Byte(0x9D);                  // popfq
        for (int guest = 0; guest < 12; guest++)
        {
            _e.LoadState(Of(guest), StateOffset.Gpr(guest));
        }
    }

    /// <summary>To memory, and the host's own FPU environment back. Clobbers RAX, RCX, RDX.</summary>
    private void SaveExtended()
    {
        XsaveOperands();
        _e.Bytes([0x48, 0x0F, 0xAE, 0x21]); // xsave64 [rcx]
        _e.Rm(0xC7, 0, State, StateOffset.ExtendedInMemory);
        _e.Dword(1);
        _e.Rm(0x0FAE, 2, State, StateOffset.HostMxcsr, wide: false); // ldmxcsr
        _e.Bytes([0xDB, 0xE3]);         // fninit
        if (_avx)
        {
            _e.Bytes([0xC5, 0xF8, 0x77]); // vzeroupper
        }
    }

    private void XsaveOperands()
    {
        _e.Load(Rax, State, StateOffset.XsaveMask, wide: false);
        _e.Load(Rdx, State, StateOffset.XsaveMask + 4, wide: false);
        _e.LoadState(Rcx, StateOffset.Xsave);
    }
}
