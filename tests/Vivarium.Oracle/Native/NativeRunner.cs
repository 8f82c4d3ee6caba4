using System.Runtime.InteropServices;

namespace Vivarium.Oracle.Native;

/// <summary>
/// Runs a case on the host CPU: emitted code loads the whole state, jumps to the case, and stores the whole state when
/// the case reaches a landing pad or faults. Signals raised by the case go to an emitted handler, which notes what
/// happened and lets sigreturn resume at the store path, so that every register is the faulting context's own.
/// </summary>
/// <remarks>One instance per process, used by one thread at a time: addresses are fixed and signal handlers are global.</remarks>
internal sealed unsafe class NativeRunner : ICaseRunner
{
    private const ulong In = CaseWindow.RunnerBase + 0x2000;
    private const ulong Out = CaseWindow.RunnerBase + 0x4000;
    private const ulong Variables = CaseWindow.RunnerBase + 0x6000;
    private const ulong HostRsp = Variables;
    private const ulong HostMxcsr = Variables + 8;
    private const ulong HostFcw = Variables + 12;
    private const ulong HostGsBase = Variables + 16;
    private const ulong OwnerFsBase = Variables + 24;
    private const ulong Active = Variables + 32;
    private const ulong PadTable = Variables + 64;
    private const ulong OldHandlers = Variables + 256;
    private const ulong FarTarget = Variables + 40;
    private const ulong PadTable32 = Variables + 0x300;

    /// <summary>Linux's __USER32_CS, __USER_CS and __USER_DS.</summary>
    private const byte UserCode32 = 0x23;
    private const byte UserCode64 = 0x33;
    private const byte UserData = 0x2B;
    private const int UcCs = 40 + (18 * 8);
    private const int UcSs = UcCs + 6;
    private const ulong FlagStackTop = CaseWindow.RunnerBase + 0x8000;
    private const int MaxPads = 16;

    // Offsets in ucontext_t: uc_mcontext.gregs starts at 40 (REG_RSP 15, REG_RIP 16, REG_EFL 17, REG_ERR 19, REG_TRAPNO 20, REG_CR2 22).
    private const int UcRsp = 40 + (15 * 8);
    private const int UcRip = 40 + (16 * 8);
    private const int UcFlags = 40 + (17 * 8);
    private const int UcError = 40 + (19 * 8);
    private const int UcTrap = 40 + (20 * 8);
    private const int UcCr2 = 40 + (22 * 8);
    private const int TrapAndResumeFlags = 0x10100;

    private static readonly int[] Signals = [Libc.SigSegv, Libc.SigFpe, Libc.SigIll, Libc.SigBus, Libc.SigTrap];

    private readonly delegate* unmanaged<void> _enter;
    private readonly delegate* unmanaged<void> _enter32;
    private readonly delegate* unmanaged<void> _enter16;

    public NativeRunner()
    {
        Map(CaseWindow.CodeBase, CaseWindow.CodeSize, Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec);
        Map(CaseWindow.DataBase - CaseWindow.PageSize, CaseWindow.PageSize, Libc.ProtNone);
        Map(CaseWindow.DataBase, CaseWindow.DataSize + CaseWindow.ReadOnlySize, Libc.ProtRead | Libc.ProtWrite);
        Map(CaseWindow.WindowEnd, CaseWindow.PageSize, Libc.ProtNone);
        Map(CaseWindow.RunnerBase, CaseWindow.RunnerSize, Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec);
        CaseMemory.ReadOnlyContent.CopyTo(new Span<byte>((void*)CaseWindow.ReadOnlyBase, CaseWindow.ReadOnlySize));
        if (Libc.Mprotect((void*)CaseWindow.ReadOnlyBase, CaseWindow.ReadOnlySize, Libc.ProtRead) != 0)
        {
            throw new InvalidOperationException("mprotect failed");
        }

        _enter = Emit(out ulong handler, out _enter32, out _enter16);
        Install(handler);
        MakeSegments();
    }

    /// <summary>The FS base of the calling thread: cases with an FS override use it as it is, because the process needs it.</summary>
    public static ulong FsBase
    {
        get
        {
            if (s_readFsBase == 0)
            {
                void* page = Libc.Mmap(null, CaseWindow.PageSize, Libc.ProtRead | Libc.ProtWrite | Libc.ProtExec, Libc.MapPrivate | Libc.MapAnonymous, -1, 0);
                new Emitter((byte*)page).Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xC0, 0xC3); // rdfsbase rax; ret
                s_readFsBase = (ulong)page;
            }

            return ((delegate* unmanaged<ulong>)s_readFsBase)();
        }
    }

    private static ulong s_readFsBase;

    public string Name => "host CPU";

    /// <summary>False where the host's kernel has no segments for such code: then every case would end in #GP.</summary>
    public bool Runs(int bitness)
    {
        var outcome = new Outcome();
        Run(TestCase.Of([0x90], bitness), outcome);
        return outcome.Vector == Outcome.NoException;
    }

    public void Run(TestCase test, Outcome outcome)
    {
        EnsureAlternateStack();
        CopyState(test.Input, (CaseState*)In);
        test.Memory.CopyTo(new Span<byte>((void*)CaseWindow.DataBase, CaseWindow.DataSize));
        test.Code.CopyTo(new Span<byte>((void*)test.CodeAddress, test.CodeLength));
        for (int pad = 0; pad < test.Pads.Count; pad++)
        {
            var code = new Emitter((byte*)test.Pads[pad]);
            if (test.Bitness == 16)
            {
                code.Bytes(0x66, 0xEA); // jmp UserCode64:pad
                code.Int32((int)((ulong*)PadTable)[pad]);
                code.Bytes(UserCode64, 0);
            }
            else if (test.Bitness == 32)
            {
                code.Bytes(0xFF, 0x25); // jmp [disp32]
                code.Int32((int)PadTable32 + (4 * pad));
            }
            else
            {
                code.JumpThrough(PadTable + (8 * (ulong)pad));
            }
        }

        // No other signal may find a case's RSP or flags: its frame would be pushed there.
        Libc.SigSet all;
        new Span<ulong>(all.Bits, 16).Fill(ulong.MaxValue);
        foreach (int signal in Signals)
        {
            all.Bits[0] &= ~(1ul << (signal - 1));
        }

        Libc.SigSet old;
        _ = Libc.SignalMask(Libc.SigSetMask, &all, &old);
        if (test.Bitness == 16)
        {
            *(ulong*)FarTarget = test.ToRip(test.CodeAddress) | ((ulong)CaseWindow.CodeSelector16 << 32);
            _enter16();
        }
        else if (test.Bitness == 32)
        {
            *(ulong*)FarTarget = test.CodeAddress | ((ulong)UserCode32 << 32);
            _enter32();
        }
        else
        {
            _enter();
        }

        _ = Libc.SignalMask(Libc.SigSetMask, &old, null);
        foreach (ulong pad in test.Pads)
        {
            TestCase.LeftPad.CopyTo(new Span<byte>((void*)pad, TestCase.PadSize));
        }

        CaseState* result = (CaseState*)Out;
        CopyState(result, outcome.State);
        outcome.State->FsBase = test.Input->FsBase;
        outcome.Vector = result->Pad == CaseState.NoPad ? (int)result->Trap : Outcome.NoException;
        if (outcome.Vector != Outcome.NoException && result->GsBase == 0 && (long)test.Input->GsBase < 0)
        {
            // Some hypervisors have the kernel's half to themselves, and forget such a base on each way into the kernel.
            outcome.State->GsBase = test.Input->GsBase;
        }

        outcome.Error = outcome.Vector is 8 or (>= 10 and <= 14) or 17 ? result->Error : 0;
        outcome.FaultAddress = outcome.Vector == 14 ? result->FaultAddress : 0;
        outcome.State->Rip = result->Pad == CaseState.NoPad ? test.ToLinear(result->FaultRip) : test.Pads[result->Pad];
        outcome.Failure = null;
        new ReadOnlySpan<byte>((void*)CaseWindow.DataBase, CaseWindow.DataSize).CopyTo(outcome.Memory);
    }

    private static void CopyState(CaseState* from, CaseState* to)
        => Buffer.MemoryCopy(from, to, sizeof(CaseState), CaseState.XsaveOffset + XsaveArea.Size);

    private static void Map(ulong address, int size, int protection)
    {
        int flags = Libc.MapPrivate | Libc.MapAnonymous | Libc.MapFixedNoReplace | (protection == Libc.ProtNone ? 0 : Libc.MapPopulate);
        void* got = Libc.Mmap((void*)address, (nuint)size, protection, flags, -1, 0);
        if (got != (void*)address)
        {
            throw new InvalidOperationException($"cannot map {size:x} bytes at {address:x}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    private static delegate* unmanaged<void> Emit(out ulong handler, out delegate* unmanaged<void> enter32, out delegate* unmanaged<void> enter16)
    {
        var code = new Emitter((byte*)CaseWindow.RunnerBase);

        // Store path: entered with the case's registers.
        ulong store = code.Address;
        code.StoreGpr(4, Out + CaseState.GprOffset + (4 * 8));
        code.Bytes(0x48, 0xC7, 0xC4); // mov rsp, FlagStackTop
        code.Int32((int)FlagStackTop);
        ulong storeOthers = code.Address;
        code.Bytes(0x9C); // pushfq
        code.StoreImmediate(Active, 0);
        for (int register = 0; register < 16; register++)
        {
            if (register != 4)
            {
                code.StoreGpr(register, Out + CaseState.GprOffset + ((ulong)register * 8));
            }
        }

        code.Bytes(0x8F); // pop qword [Out.Rflags]
        code.Absolute(0, Out + CaseState.RflagsOffset);
        code.Bytes(0x68, 0x02, 0x02, 0x00, 0x00, 0x9D); // push 0x202; popfq: DF, AC and the like away
        code.Bytes(0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xC0); // xor eax, eax; mov ds, eax; mov es, eax
        code.Bytes(0xB8, UserData, 0, 0, 0, 0x8E, 0xD0); // mov eax, UserData; mov ss, eax
        code.Bytes(0xB8); // mov eax, mask
        code.Int32((int)XsaveArea.Mask);
        code.Bytes(0x31, 0xD2); // xor edx, edx
        code.Bytes(0x48, 0x0F, 0xAE); // xsave64
        code.Absolute(4, Out + CaseState.XsaveOffset);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xC8); // rdgsbase rax
        code.StoreGpr(0, Out + CaseState.GsBaseOffset);
        code.LoadGpr(0, HostGsBase);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xD8); // wrgsbase rax
        code.LoadGpr(4, HostRsp);
        code.Bytes(0xDB, 0xE3, 0xD9); // fninit; fldcw
        code.Absolute(5, HostFcw);
        code.Bytes(0x0F, 0xAE); // ldmxcsr
        code.Absolute(2, HostMxcsr);
        if ((XsaveArea.Mask & XsaveArea.Avx) != 0)
        {
            code.Bytes(0xC5, 0xF8, 0x77); // vzeroupper
        }

        code.Bytes(0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3); // pop r15, r14, r13, r12, rbp, rbx; ret

        for (int pad = 0; pad < MaxPads; pad++)
        {
            ((ulong*)PadTable)[pad] = code.Address;
            code.StoreImmediate(Out + CaseState.PadOffset, pad);
            code.Jump(store);
        }

        // The same for 32-bit code: back to 64-bit mode with a far jump.
        for (int pad = 0; pad < MaxPads; pad++)
        {
            ((uint*)PadTable32)[pad] = (uint)code.Address;
            code.Bytes(0xC7, 0x05);
            code.Int32((int)(Out + CaseState.PadOffset));
            code.Int32(pad);
            code.Bytes(0xEA); // jmp UserCode64:store
            code.Int32((int)store);
            code.Bytes(UserCode64, 0);
        }

        ulong faulted = code.Address;
        code.StoreImmediate(Out + CaseState.PadOffset, CaseState.NoPad);
        code.Jump(storeOthers);

        // handler(rdi: signal, rsi: siginfo, rdx: ucontext)
        handler = code.Address;
        code.Bytes(0x83); // cmp dword [Active], 0
        code.Absolute(7, Active);
        code.Bytes(0);
        byte* notOurs = code.JumpIf(4);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xC0); // rdfsbase rax
        code.Bytes(0x48, 0x3B); // cmp rax, [OwnerFsBase]
        code.Absolute(0, OwnerFsBase);
        byte* otherThread = code.JumpIf(5);
        CopyOut(ref code, UcRip, Out + CaseState.FaultRipOffset);
        CopyOut(ref code, UcError, Out + CaseState.ErrorOffset);
        CopyOut(ref code, UcTrap, Out + CaseState.TrapOffset);
        CopyOut(ref code, UcCr2, Out + CaseState.FaultAddressOffset);

        // Not every host goes on with an RSP that is not canonical: under some hypervisors each way back to it is #GP.
        CopyOut(ref code, UcRsp, Out + CaseState.GprOffset + (4 * 8));
        code.Bytes(0x48, 0xC7, 0x82); // mov qword [rdx + UcRsp], FlagStackTop
        code.Int32(UcRsp);
        code.Int32((int)FlagStackTop);
        code.Bytes(0x48, 0xC7, 0x82); // mov qword [rdx + UcRip], faulted
        code.Int32(UcRip);
        code.Int32((int)faulted);
        code.Bytes(0x66, 0xC7, 0x82); // mov word [rdx + UcCs], UserCode64
        code.Int32(UcCs);
        code.Bytes(UserCode64, 0);
        code.Bytes(0x66, 0xC7, 0x82); // mov word [rdx + UcSs], UserData
        code.Int32(UcSs);
        code.Bytes(UserData, 0);
        code.Bytes(0x48, 0x81, 0xA2); // and qword [rdx + UcFlags], ~(TF | RF)
        code.Int32(UcFlags);
        code.Int32(~TrapAndResumeFlags);
        code.Bytes(0xC3);

        code.Land(notOurs);
        code.Land(otherThread);
        code.Bytes(0x89, 0xF8); // mov eax, edi
        code.Bytes(0x48, 0x8B, 0x04, 0xC5); // mov rax, [rax*8 + OldHandlers]
        code.Int32((int)OldHandlers);
        code.Bytes(0x48, 0x83, 0xF8, 0x01); // cmp rax, 1: SIG_DFL, SIG_IGN
        byte* nobody = code.JumpIf(6);
        code.Bytes(0xFF, 0xE0); // jmp rax
        code.Land(nobody);
        code.Bytes(0xB8, 231, 0, 0, 0, 0xBF, 139, 0, 0, 0, 0x0F, 0x05); // exit_group(139)

        ulong enter = code.Address;
        EmitEnter(ref code, 64);
        enter32 = (delegate* unmanaged<void>)code.Address;
        EmitEnter(ref code, 32);
        enter16 = (delegate* unmanaged<void>)code.Address;
        EmitEnter(ref code, 16);
        return (delegate* unmanaged<void>)enter;
    }

    /// <summary>The segments of 16-bit code in the process's LDT.</summary>
    private static void MakeSegments()
    {
        const uint data = 0, expandDown = 1, code = 2;
        ReadOnlySpan<Libc.UserDescriptor> segments =
        [
            new(CaseWindow.CodeSelector16, (uint)CaseWindow.CodeBase, CaseWindow.CodeLimit16, code),
            new(CaseWindow.DsSelector16, (uint)CaseWindow.DataBase, CaseWindow.DsLimit16, data),
            new(CaseWindow.EsSelector16, (uint)CaseWindow.DataBase, CaseWindow.EsLimit16, data),
            new(CaseWindow.SsSelector16, (uint)CaseWindow.DataBase, CaseWindow.SsLimit16, expandDown),
        ];
        foreach (Libc.UserDescriptor segment in segments)
        {
            Libc.UserDescriptor descriptor = segment;
            if ((int)Libc.ModifyLdt(Libc.SysModifyLdt, Libc.WriteLdt, &descriptor, (nuint)sizeof(Libc.UserDescriptor)) != 0)
            {
                throw new InvalidOperationException($"modify_ldt failed: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
    }

    /// <summary>Saves the host's state, loads the case's, and jumps to the case.</summary>
    private static void EmitEnter(ref Emitter code, int bitness)
    {
        code.Bytes(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); // push rbx, rbp, r12-r15
        code.Bytes(0x0F, 0xAE); // stmxcsr
        code.Absolute(3, HostMxcsr);
        code.Bytes(0xD9); // fnstcw
        code.Absolute(7, HostFcw);
        code.StoreGpr(4, HostRsp);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xC8); // rdgsbase rax
        code.StoreGpr(0, HostGsBase);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xC0); // rdfsbase rax
        code.StoreGpr(0, OwnerFsBase);
        code.StoreImmediate(Active, 1);
        code.LoadGpr(0, In + CaseState.GsBaseOffset);
        code.Bytes(0xF3, 0x48, 0x0F, 0xAE, 0xD8); // wrgsbase rax
        code.Bytes(0xB8); // mov eax, mask
        code.Int32((int)XsaveArea.Mask);
        code.Bytes(0x31, 0xD2);
        code.Bytes(0x48, 0x0F, 0xAE); // xrstor64
        code.Absolute(5, In + CaseState.XsaveOffset);
        if (bitness == 32)
        {
            code.Bytes(0xB8, UserData, 0, 0, 0, 0x8E, 0xD8, 0x8E, 0xC0); // mov eax, UserData; mov ds, eax; mov es, eax
        }
        else if (bitness == 16)
        {
            code.Bytes(0xB8, (byte)CaseWindow.DsSelector16, 0, 0, 0, 0x8E, 0xD8); // mov eax, ...; mov ds, eax
            code.Bytes(0xB8, (byte)CaseWindow.EsSelector16, 0, 0, 0, 0x8E, 0xC0);
            code.Bytes(0xB8, (byte)CaseWindow.SsSelector16, 0, 0, 0, 0x8E, 0xD0);
        }

        code.Bytes(0x48, 0xC7, 0xC4); // mov rsp, FlagStackTop
        code.Int32((int)FlagStackTop);
        code.Bytes(0xFF); // push qword [In.Rflags]
        code.Absolute(6, In + CaseState.RflagsOffset);
        code.Bytes(0x9D); // popfq
        for (int register = 0; register < 16; register++)
        {
            code.LoadGpr(register, In + CaseState.GprOffset + ((ulong)register * 8));
        }

        if (bitness != 64)
        {
            code.Bytes(0xFF); // jmp far [FarTarget]
            code.Absolute(5, FarTarget);
        }
        else
        {
            code.JumpThrough(In + CaseState.RipOffset);
        }
    }

    private static void CopyOut(ref Emitter code, int ucontextOffset, ulong to)
    {
        code.Bytes(0x48, 0x8B, 0x82); // mov rax, [rdx + offset]
        code.Int32(ucontextOffset);
        code.StoreGpr(0, to);
    }

    private static void Install(ulong handler)
    {
        foreach (int signal in Signals)
        {
            Libc.SigAction old;
            if (Libc.Sigaction(signal, null, &old) != 0)
            {
                throw new InvalidOperationException("sigaction failed");
            }

            ((ulong*)OldHandlers)[signal] = old.Handler;
            Libc.SigAction action = default;
            action.Handler = handler;
            action.Flags = old.Flags | Libc.SaSiginfo | Libc.SaOnStack;
            if (Libc.Sigaction(signal, &action, null) != 0)
            {
                throw new InvalidOperationException("sigaction failed");
            }
        }
    }

    /// <summary>CoreCLR gives its threads an alternate signal stack; other runtimes' threads get one of ours.</summary>
    private static void EnsureAlternateStack()
    {
        if (s_alternateStackChecked)
        {
            return;
        }

        s_alternateStackChecked = true;
        Libc.AlternateStack current;
        _ = Libc.Sigaltstack(null, &current);
        if ((current.Flags & Libc.SsDisable) != 0)
        {
            const int size = 64 * 1024;
            Libc.AlternateStack own = default;
            own.Address = NativeMemory.Alloc(size);
            own.Size = size;
            _ = Libc.Sigaltstack(&own, null);
        }
    }

    [ThreadStatic] private static bool s_alternateStackChecked;
}
