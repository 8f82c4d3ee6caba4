using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Where jumps of translated code come that do not know their target's translation: it is looked for in the jump cache
/// and, for 64-bit code, by the physical page that the target's linear page stands for. Only what neither knows goes
/// back to the run loop.
/// </summary>
internal sealed unsafe class JumpThunks
{
    private const int JeCondition = 4;
    private const int JneCondition = 5;
    private const int JaCondition = 7;
    private const int And = 4;
    private const int ShiftLeft = 4;
    private const int ShiftRight = 5;

    private readonly Emitter _e;
    private readonly byte* _unknown;
    private readonly bool _findsByPage;
    private readonly nint[] _return;
    private readonly nint[] _jump;
    private readonly nint[] _call;
    private readonly nint[] _direct;

    /// <param name="emitter">Where to emit.</param>
    /// <param name="unknown">Exits with <see cref="ExitCode.Jump"/>.</param>
    /// <param name="findsByPage">Look for the target by its physical page.</param>
    /// <param name="spaces">How many <see cref="AddressSpace"/>s there are.</param>
    public JumpThunks(Emitter emitter, byte* unknown, bool findsByPage, int spaces)
    {
        _e = emitter;
        _unknown = unknown;
        _findsByPage = findsByPage;
        _return = new nint[spaces];
        _jump = new nint[spaces];
        _call = new nint[spaces];
        _direct = new nint[spaces];
        for (int i = 0; i < spaces; i++)
        {
            Emit((AddressSpace)i);
        }
    }

    /// <summary>
    /// A return whose target is not what the topmost call frame says: T1 = target, T2 = a host address of the instruction,
    /// S-&gt;ExitInfo = bytes it has popped, the flags saved. The frame goes: it belongs to the call that is returned from, or to none.
    /// </summary>
    public byte* Return(AddressSpace space) => (byte*)_return[(int)space];

    /// <summary>An indirect jump that the jump cache does not know, or a request is pending: S-&gt;Rip = target, the flags saved, T2 and S-&gt;ExitInfo as above.</summary>
    public byte* Jump(AddressSpace space) => (byte*)_jump[(int)space];

    /// <summary>Called with a call frame, for a target that the jump cache does not know and that is canonical: S-&gt;JumpTarget.</summary>
    public byte* Call(AddressSpace space) => (byte*)_call[(int)space];

    /// <summary>A jump to a known target that the jump cache does not know; or called so, with a call frame: T1 = target.</summary>
    public byte* Direct(AddressSpace space) => (byte*)_direct[(int)space];

    private void Emit(AddressSpace space)
    {
        int jumps = StateOffset.Jumps(space);

        _call[(int)space] = (nint)_e.Here;
        _e.LoadState(T1, StateOffset.JumpTarget);
        _direct[(int)space] = (nint)_e.Here;
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreStateImm(StateOffset.ExitHostPc, 0);
        _e.SaveFlags(T2);
        byte* direct = _e.JumpForward(-1);

        _return[(int)space] = (nint)_e.Here;
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreState(StateOffset.ExitHostPc, T2);
        _e.Rm(0x3B, Rsp, State, StateOffset.HostStack); // cmp rsp: the frame below all stays
        byte* none = _e.JumpForward(JeCondition);

        // By a return, so that the host's own prediction of returns stays in step.
        _e.LeaHost(T2, _e.Here + 7 + 4 + 1);
        _e.Store(Rsp, 0, T2);
        _e.Byte(0xC3);
        _e.Lea(Rsp, Rsp, 8);
        _e.Land(none);
        _e.JumpPlace(T2, T1, space);
        _e.Rx(0x03, T1, State, T2, 0, jumps);   // add: zero if it is this RIP
        byte* unknown = _e.JumpForward(JneCondition);
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        byte* requested = _e.JumpForward(JneCondition);
        _e.RestoreFlags(T1);
        _e.Rx(0xFF, 4, State, T2, 0, jumps + 8, wide: false);

        _jump[(int)space] = (nint)_e.Here;
        _e.StoreState(StateOffset.ExitHostPc, T2);
        _e.Land(unknown);
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        byte* requestedToo = _e.JumpForward(JneCondition);
        _e.LoadState(T1, StateOffset.Rip);
        _e.Land(direct);
        if (_findsByPage)
        {
            EmitFind(space);
        }

        _e.Land(requested);
        _e.Land(requestedToo);
        _e.RestoreFlags(T1);
        _e.Jmp(_unknown);
    }

    /// <summary>T1 = target, the flags saved: jumps to it and enters it into the jump cache, or goes on behind.</summary>
    private void EmitFind(AddressSpace space)
    {
        int jumps = StateOffset.Jumps(space);
        _e.StoreState(StateOffset.JumpRcx, Rcx);
        _e.StoreState(StateOffset.JumpRax, Rax);

        // T2 = the physical page number, if the page is known.
        _e.MovRr(T2, T1);
        _e.Rr(0xC1, ShiftRight, T2);
        _e.Byte(12);
        _e.Rr(0x81, And, T2, wide: false);
        _e.Dword(NativeExecutedPages.Entries - 1);
        _e.Rx(0x8B, Rcx, State, T2, 3, StateOffset.ExecutedPages(space));
        _e.MovRr(T2, T1);
        _e.Rr(0xC1, ShiftLeft, T2);
        _e.Byte(16);
        _e.Rr(0x81, And, T2);
        _e.Dword(-1 << NativeExecutedPages.PhysicalBits);
        _e.Rr(0x31, Rcx, T2);                   // xor
        _e.Rr(0x81, 7, T2);                     // cmp
        _e.Dword((1 << NativeExecutedPages.PhysicalBits) - 1);
        byte* otherPage = _e.JumpForward(JaCondition);

        _e.Load(Rax, State, StateOffset.Mode, wide: false);
        _e.Rr(0xC1, ShiftLeft, Rax);
        _e.Byte(NativeExecutedPages.PhysicalBits);
        _e.Rr(0x01, Rax, T2);                   // add T2, rax
        _e.Crc32(Rcx, T1);
        _e.Rr(0xC1, ShiftRight, Rcx, wide: false);
        _e.Byte(NativeFoundBlock.IndexShift);
        _e.Rr(0xC1, ShiftLeft, Rcx, wide: false);
        _e.Byte(NativeFoundBlock.SizeShift);
        _e.Rm(0x03, Rcx, State, StateOffset.FoundBlocks);
        _e.Rm(0x3B, T1, Rcx, 0);                // cmp
        byte* otherRip = _e.JumpForward(JneCondition);
        _e.Rm(0x3B, T2, Rcx, 8);
        byte* otherKey = _e.JumpForward(JneCondition);

        // Who throws a block away takes it out of the one table and then looks into the other; here it is the other way round.
        _e.JumpPlace(Rax, T1, space);
        _e.Load(T2, Rcx, 16);
        _e.Rr(0xF7, 3, T1);                     // neg
        _e.Rx(0x89, T2, State, Rax, 0, jumps + 8);
        _e.Rx(0x89, T1, State, Rax, 0, jumps);
        _e.Bytes([0xF0, 0x83, 0x0C, 0x24, 0x00]); // lock or dword [rsp], 0
        _e.Rr(0xF7, 3, T1);
        _e.Rm(0x3B, T1, Rcx, 0);
        byte* gone = _e.JumpForward(JneCondition);
        byte* go = _e.Here;
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.RestoreFlags(T1);
        _e.Rr(0xFF, 4, T2, wide: false);        // jmp T2

        // As FirstLevelTlb empties it: RIP 1 is looked for in one entry only, and RIP 0 not there.
        _e.Land(gone);
        _e.Rr(0x31, T1, T1, wide: false);
        _e.Rr(0x81, 7, Rax, wide: false);       // cmp
        _e.Dword(NativeJumpCache.IndexOf(1, space) << 4);
        byte* entry1 = _e.ShortForward(0x74);
        _e.Rr(0xF7, 2, T1);                     // not
        _e.LandShort(entry1);
        _e.Rx(0x89, T1, State, Rax, 0, jumps);
        _e.Jmp(go);

        _e.Land(otherPage);
        _e.Land(otherRip);
        _e.Land(otherKey);
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
    }
}
