using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Changes of privilege level in 64-bit mode, in their usual case: SYSCALL to ring 0, SYSRET and IRET to ring 3. The new
/// level's jump cache tells where to go on. Everything else leaves for the emulation, as a trapped instruction does.
/// </summary>
/// <remarks>
/// Jumped to with S-&gt;Rip and S-&gt;ExitInfo set as for a trap, and the guest's flags in the host's. Nothing of the guest's
/// state is changed before the last check has been passed.
/// </remarks>
internal sealed unsafe class SystemThunks
{
    private const int JnzCondition = 5;
    private const int JzCondition = 4;
    private const int JaCondition = 7;
    private const int And = 4;
    private const int Or = 1;
    private const int PageSize = 4096;
    private const int SizeOfDescriptor = 8;

    /// <summary>SYSRET takes all flags but these from R11 (SDM vol. 2, SYSRET).</summary>
    private const ulong SysretFlags = RflagsBits.Defined & ~(RflagsBits.Rf | RflagsBits.Vm);

    /// <summary>IRET in ring 0 takes all flags but VM from the stack.</summary>
    private const ulong ReturnFlags = RflagsBits.Defined & ~RflagsBits.Vm;

    /// <summary>Flags that make ring 3 be run step by step, or may.</summary>
    private const ulong Unusual = RflagsBits.Tf | RflagsBits.Ac;

    /// <summary>The frame of a 64-bit interrupt: offsets from the stack pointer.</summary>
    private const int FrameCs = 8, FrameFlags = 16, FrameRsp = 24, FrameSs = 32;

    /// <summary>RPL, in a selector.</summary>
    private const int RequestedPrivilege = 3;

    private const int R11 = 11;

    private readonly Emitter _e;
    private readonly JumpThunks _jumps;
    private readonly byte* _dispatch;
    private readonly byte* _trap;
    private byte* _refused;

    /// <param name="emitter">Where to emit.</param>
    /// <param name="jumps">Find what the jump caches do not know.</param>
    /// <param name="dispatch">Exits to go on at S-&gt;Rip.</param>
    /// <param name="trap">Exits as a trapped instruction does.</param>
    /// <param name="innerReturns">Do IRETQ within ring 0 too.</param>
    public SystemThunks(Emitter emitter, JumpThunks jumps, byte* dispatch, byte* trap, bool innerReturns)
    {
        _e = emitter;
        _jumps = jumps;
        _dispatch = dispatch;
        _trap = trap;
        _refused = EmitRefused();
        Syscall = EmitSyscall();
        Sysret = EmitSysret();
        InterruptReturn = EmitInterruptReturn(innerReturns);
    }

    /// <summary>SYSCALL of ring 3; the following instruction's RIP is in S-&gt;Scratch.</summary>
    public byte* Syscall { get; }

    /// <summary>SYSRET to 64-bit code.</summary>
    public byte* Sysret { get; }

    /// <summary>IRETQ of ring 0; T1 = host address of the frame, whose 40 bytes can be read.</summary>
    public byte* InterruptReturn { get; }

    private byte* EmitRefused()
    {
        byte* start = _e.Here;
        _e.Byte(0x9D);                          // popfq
        _e.Jmp(_trap);
        return start;
    }

    /// <summary>The frames of calls under way are of the old privilege level. The flags go to the host's stack.</summary>
    private byte* EmitStart()
    {
        byte* start = _e.Here;
        _e.LoadState(Rsp, StateOffset.HostStack);
        _e.Byte(0x9C);                          // pushfq
        return start;
    }

    private byte* EmitSyscall()
    {
        byte* start = EmitStart();
        RefuseIfZero(StateOffset.KernelMode);
        RefuseUnlessEnabled();
        _e.Load(T2, Rsp, 0);
        EmitImm(And, T2, RflagsBits.Arithmetic);
        _e.Rm(0x0B, T2, State, StateOffset.SystemFlags);
        _e.LoadState(T1, StateOffset.SyscallMask);
        _e.Rr(0xF7, 2, T1);                     // not T1
        _e.Rr(0x21, T2, T1);                    // and T1, T2: the new flags
        RefuseIfAny(T1, RflagsBits.Ac);

        _e.MovRr(R11, T2);
        _e.LoadState(Rcx, StateOffset.Scratch);
        EmitSetFlags(T1, T2);
        EmitCopySegment(StateOffset.SyscallCs, StateOffset.Segment(1));
        EmitCopySegment(StateOffset.SyscallSs, StateOffset.Segment(2));
        EmitEnterMode(StateOffset.KernelMode);
        _e.LoadState(T1, StateOffset.Lstar);
        EmitGoOn(AddressSpace.Supervisor);
        return start;
    }

    private byte* EmitSysret()
    {
        byte* start = EmitStart();
        RefuseIfZero(StateOffset.UserMode);
        RefuseUnlessEnabled();
        _e.MovRr(T1, Rcx);
        RefuseUnlessLower(T1);
        RefuseIfAny(R11, Unusual);

        _e.MovRr(T1, R11);
        EmitImm(And, T1, SysretFlags);
        EmitSetFlags(T1, T2);
        EmitCopySegment(StateOffset.SysretCs, StateOffset.Segment(1));
        EmitCopySegment(StateOffset.SysretSs, StateOffset.Segment(2));
        EmitEnterMode(StateOffset.UserMode);
        _e.MovRr(T1, Rcx);
        EmitGoOn(AddressSpace.User, interruptible: true);
        return start;
    }

    private byte* EmitInterruptReturn(bool innerReturns)
    {
        byte* start = EmitStart();
        _e.CmpStateImm8(StateOffset.NmiBlocked, 0);
        _e.Jcc(JnzCondition, _refused);
        _e.Rm(0xF7, 0, State, StateOffset.SystemFlags, wide: false); // test
        _e.Dword((int)(RflagsBits.Nt | RflagsBits.Ac));
        _e.Jcc(JnzCondition, _refused);
        _e.Load(T2, T1, FrameFlags);
        RefuseIfAny(T2, Unusual);
        byte* inner = null;
        if (innerReturns)
        {
            _e.Rm(0xF6, 0, T1, FrameCs, wide: false); // test
            _e.Byte(RequestedPrivilege);
            inner = _e.JumpForward(JzCondition);
        }

        RefuseIfZero(StateOffset.ReturnMode);
        _e.Load(T2, T1, 0);
        RefuseUnlessLower(T2);
        EmitReturnTo(StateOffset.OuterReturn);
        EmitEnterMode(StateOffset.ReturnMode);
        _e.LoadState(T1, StateOffset.Scratch);
        EmitGoOn(AddressSpace.User, interruptible: true, clearResume: true);

        if (innerReturns)
        {
            // The mode stays what it is.
            _e.Land(inner);
            _e.Load(T2, T1, 0);
            RefuseUnlessUpper(T2);
            EmitReturnTo(StateOffset.InnerReturn);
            _e.LoadState(T1, StateOffset.Scratch);
            EmitGoOn(AddressSpace.Supervisor, interruptible: true, clearResume: true);
        }

        return start;
    }

    /// <summary>Loads segments, stack pointer and flags from the frame at T1; S-&gt;Scratch = RIP.</summary>
    /// <param name="target">The <see cref="NativeReturn"/> that the frame's selectors must be those of.</param>
    private void EmitReturnTo(int target)
    {
        int csSelector = target + StateOffset.ReturnCsSelector, ssSelector = target + StateOffset.ReturnSsSelector;
        RefuseOtherSelector(FrameCs, csSelector);
        RefuseOtherSelector(FrameSs, ssSelector);
        _e.StoreState(StateOffset.Scratch, T1);
        RefuseOtherDescriptor(csSelector, target + StateOffset.ReturnCsDescriptor);

        // A null selector has no descriptor.
        _e.Rm(0x83, 7, State, ssSelector, wide: false); // cmp
        _e.Byte(0);
        byte* none = _e.JumpForward(JzCondition);
        RefuseOtherDescriptor(ssSelector, target + StateOffset.ReturnSsDescriptor);
        _e.Land(none);
        _e.LoadState(T1, StateOffset.Scratch);

        _e.Load(GuestRsp, T1, FrameRsp);
        _e.Load(T2, T1, FrameFlags);
        _e.Load(T1, T1, 0);
        _e.StoreState(StateOffset.Scratch, T1);
        EmitImm(And, T2, ReturnFlags);
        EmitSetFlags(T2, T1);
        EmitCopySegment(target + StateOffset.ReturnCs, StateOffset.Segment(1));
        EmitCopySegment(target + StateOffset.ReturnSs, StateOffset.Segment(2));
    }

    private void RefuseIfZero(int mode)
    {
        _e.Rm(0x83, 7, State, mode, wide: false); // cmp
        _e.Byte(0);
        _e.Jcc(JzCondition, _refused);
    }

    /// <summary>EFER.SCE.</summary>
    private void RefuseUnlessEnabled()
    {
        _e.Rm(0xF6, 0, State, StateOffset.Efer, wide: false); // test
        _e.Byte((int)EferBits.Sce);
        _e.Jcc(JzCondition, _refused);
    }

    private void RefuseIfAny(int register, ulong flags)
    {
        _e.Rr(0xF7, 0, register, wide: false);  // test
        _e.Dword((int)flags);
        _e.Jcc(JnzCondition, _refused);
    }

    /// <summary>An address of the upper half, or one that is not canonical, is for the emulation. The register is lost.</summary>
    private void RefuseUnlessLower(int register)
    {
        _e.Rr(0xC1, 5, register);               // shr
        _e.Byte(47);
        _e.Jcc(JnzCondition, _refused);
    }

    /// <summary>Only a canonical address of the upper half passes. The register is lost.</summary>
    private void RefuseUnlessUpper(int register)
    {
        _e.Rr(0xC1, 7, register);               // sar
        _e.Byte(47);
        _e.Rr(0x83, 7, register);               // cmp
        _e.Byte(-1);
        _e.Jcc(JnzCondition, _refused);
    }

    private void RefuseOtherSelector(int frame, int selector)
    {
        _e.Rm(0x0FB7, T2, T1, frame, wide: false); // movzx T2d, word
        _e.Rm(0x3B, T2, State, selector, wide: false); // cmp
        _e.Jcc(JnzCondition, _refused);
    }

    /// <summary>The guest may have changed the descriptor in its table since it was looked at. T1 and T2 are lost.</summary>
    private void RefuseOtherDescriptor(int selector, int descriptor)
    {
        int tlb = StateOffset.Tlb(AddressSpace.Supervisor);
        _e.Load(T1, State, selector, wide: false);
        EmitImm(And, T1, 0xFFF8);
        _e.Rm(0x03, T1, State, StateOffset.GdtrBase);
        _e.TlbPlace(T2, T1);
        _e.TlbField(0x33, T1, tlb, T2, NativeTlbEntry.ReadTagOffset); // xor
        _e.Rr(0x81, 7, T1);                     // cmp
        _e.Dword(PageSize - SizeOfDescriptor);
        _e.Jcc(JaCondition, _refused);
        _e.TlbField(0x03, T1, tlb, T2, NativeTlbEntry.HostPageOffset); // add
        _e.Load(T1, T1, 0);
        _e.Rm(0x3B, T1, State, descriptor);     // cmp
        _e.Jcc(JnzCondition, _refused);
    }

    /// <summary>An operation of a 32-bit register with a constant; the upper half becomes 0.</summary>
    private void EmitImm(int operation, int register, ulong value)
    {
        _e.Rr(0x81, operation, register, wide: false);
        _e.Dword((int)value);
    }

    /// <summary>RFLAGS = a register: the arithmetic flags go to the host's stack, to be popped at the end. Both registers are lost.</summary>
    private void EmitSetFlags(int flags, int scratch)
    {
        _e.MovRr(scratch, flags);
        EmitImm(And, scratch, RflagsBits.Arithmetic);
        _e.Store(Rsp, 0, scratch);
        EmitImm(And, flags, RflagsBits.Defined & ~RflagsBits.Arithmetic);
        EmitImm(Or, flags, RflagsBits.Fixed);
        _e.StoreState(StateOffset.SystemFlags, flags);
    }

    /// <summary>The parts that count in 64-bit mode. T2 is lost.</summary>
    private void EmitCopySegment(int from, int to)
    {
        ReadOnlySpan<int> fields = [StateOffset.SegmentBase, StateOffset.SegmentLimit, StateOffset.SegmentSelector];
        foreach (int field in fields)
        {
            _e.LoadState(T2, from + field);
            _e.StoreState(to + field, T2);
        }
    }

    private void EmitEnterMode(int mode)
    {
        _e.Load(T2, State, mode, wide: false);
        _e.Store(State, StateOffset.Mode, T2, wide: false);
    }

    /// <summary>Goes on at the RIP in T1, with the flags on the host's stack: as indirect jumps do.</summary>
    /// <param name="space">The new mode's.</param>
    /// <param name="interruptible">IF may have been set: a waiting interrupt comes first.</param>
    /// <param name="clearResume">RFLAGS.RF may be set; it means nothing to an instruction in translated code.</param>
    private void EmitGoOn(AddressSpace space, bool interruptible = false, bool clearResume = false)
    {
        int jumps = StateOffset.Jumps(space);
        _e.StoreState(StateOffset.Rip, T1);
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        byte* request = _e.JumpForward(JnzCondition);
        byte* waiting = null;
        if (interruptible)
        {
            _e.CmpStateImm8(StateOffset.InterruptRequested, 0);
            waiting = _e.JumpForward(JnzCondition);
        }

        if (clearResume)
        {
            _e.StateByteImm(And, StateOffset.SystemFlags + 2, ~(int)(RflagsBits.Rf >> 16));
        }

        _e.JumpPlace(T2, T1, space);
        _e.Rx(0x03, T1, State, T2, 0, jumps);   // add T1, [entry]: zero if it is this RIP
        byte* miss = _e.JumpForward(JnzCondition);
        _e.Byte(0x9D);                          // popfq
        _e.Rx(0xFF, 4, State, T2, 0, jumps + 8, wide: false);

        _e.Land(miss);
        _e.Byte(0x9D);
        _e.LoadState(T1, StateOffset.Rip);
        _e.Jmp(_jumps.Direct(space));

        _e.Land(request);
        if (waiting != null)
        {
            _e.Land(waiting);
        }

        _e.Byte(0x9D);
        _e.Jmp(_dispatch);
    }
}
