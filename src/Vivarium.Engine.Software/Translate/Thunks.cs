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

    private static readonly int[] CalleeSaved = [Rbx, Rbp, 12, 13, 14, 15];

    private readonly Emitter _e;
    private readonly bool _avx;
    private readonly bool _besideCode;
    private readonly SecondLevelSearch? _secondLevel;
    private readonly nint[] _resolve;
    private readonly nint[] _resolveOnStack;
    private readonly nint[] _exitWith = new nint[(int)ExitCode.CarefulDone + 1];

    public Thunks(Emitter emitter, bool avx, delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> resolve,
        delegate* unmanaged<NativeState*, ulong, uint, ulong, byte*> resolveCareful, delegate* unmanaged<NativeState*, void> commit, int spaces, EngineOptions options, bool alone)
    {
        _e = emitter;
        _avx = avx;
        _besideCode = options.Has(Optimizations.BesideCode);
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
        Changed = EmitWithAddress(ExitCode.Changed);
        LoadExtended = EmitLoadExtended();
        byte* common = EmitResolve((byte*)resolve);
        _resolve = new nint[spaces * 2];
        for (int i = 0; i < _resolve.Length; i++)
        {
            _resolve[i] = (nint)EmitMiss((AddressSpace)(i / 2), write: (i & 1) != 0, common);
        }

        var stackPage = new StackPageThunk(emitter);
        _resolveOnStack = new nint[(int)AddressSpace.SupervisorAc * 2];
        for (int i = 0; i < _resolveOnStack.Length; i++)
        {
            _resolveOnStack[i] = (nint)stackPage.Emit((AddressSpace)(i / 2), write: (i & 1) != 0, (byte*)_resolve[i]);
        }

        ResolveCareful = EmitResolve((byte*)resolveCareful);
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

    /// <summary>Called from the stub of a jump that is not linked: exits with the return address in S-&gt;ExitHostPc.</summary>
    public byte* Link { get; }

    /// <summary>Called from a block that finds the guest's bytes changed: exits in the same way.</summary>
    public byte* Changed { get; }

    /// <summary>Called from translated code: brings x87 and vector state into the host's registers, or exits (#NM). Changes no register.</summary>
    public byte* LoadExtended { get; }

    /// <summary>
    /// Called on a TLB miss: T1 = linear address XOR the tag of entry T2, the flags saved, S-&gt;ExitInfo = access description.
    /// Returns with T1 = host address and T2 = host minus linear address, or exits.
    /// </summary>
    public byte* Resolve(AddressSpace space, bool write) => (byte*)_resolve[((int)space * 2) + (write ? 1 : 0)];

    /// <summary>As <see cref="Resolve"/>, for an access that is not to the <see cref="NativeStackPage"/>: T1 = linear address XOR the tag there.</summary>
    public byte* ResolveOnStack(AddressSpace space, bool write) => (byte*)_resolveOnStack[((int)space * 2) + (write ? 1 : 0)];

    /// <summary>Called with T1 = offset in a segment, T2 = access description: as <see cref="Resolve"/>, but never refuses what can be done at all.</summary>
    public byte* ResolveCareful { get; }

    /// <summary>Called after a careful instruction that wrote: carries out what went to the bounce buffer.</summary>
    public byte* Commit { get; }

    public StringThunks Strings { get; }

    public JumpThunks Jumps { get; }

    public SystemThunks System { get; }

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
        _e.StoreState(StateOffset.HostStackEnd, Rax);
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
        _e.Bytes([0x48, 0x8D, 0x64, 0x24, 0x08]); // lea rsp, [rsp+8]: drop the return address
        _e.Jmp(ExitWith(ExitCode.DeviceNotAvailable));
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
        // The bytes of an access lie in two granules at most.
        const int largest = 1 << CodeGranules.GranuleShift;
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
        _e.Byte(largest);
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

    private byte* EmitResolve(byte* helper)
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
        _e.Bytes([0x48, 0x8B, 0x0C, 0x24]); // mov rcx, [rsp]: the return address
        CallAligned(helper);
        _e.MovRr(T1, Rax);
        _e.Rr(0x85, Rax, Rax);
        byte* leave = _e.JumpForward(4);
        ReloadExtendedUnlessInMemory();
        LoadGuest();
        _e.LoadState(T2, StateOffset.ResolvedDelta);
        _e.Byte(0xC3);
        _e.Land(leave);
        _e.Jmp(Leave);
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
