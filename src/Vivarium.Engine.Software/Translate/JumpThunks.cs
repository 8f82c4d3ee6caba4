using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Where jumps of translated code come that do not know their target's translation: it is looked for in the jump cache
/// and, for 64-bit code, by the physical page that the target's linear page stands for. Only what neither knows goes
/// back to the run loop.
/// </summary>
internal sealed unsafe class JumpThunks
{
    private const int ShortJump = 0xEB;
    private const int JeCondition = 4;
    private const int JneCondition = 5;
    private const int JaCondition = 7;
    private const int And = 4;
    private const int ShiftLeft = 4;
    private const int ShiftRight = 5;

    private readonly Emitter _e;
    private readonly byte* _unknown;
    private readonly EngineOptions _options;
    private readonly PageWalkThunk? _walk;
    private readonly nint[] _return;
    private readonly nint[] _jump;
    private readonly nint[] _call;
    private readonly nint[] _direct;
    private readonly nint[] _known;
    private readonly nint[] _knownSaved;
    private readonly nint[] _knownWithRcxInT1;
    private readonly nint[] _returnSaving;
    private readonly nint[] _jumpSaving;
    private byte* _fillSite;
    private byte* _site;
    private byte* _siteSaving;

    /// <param name="emitter">Where to emit.</param>
    /// <param name="unknown">Exits with <see cref="ExitCode.Jump"/>.</param>
    /// <param name="options">The engine's.</param>
    /// <param name="walk">Tells the physical page where none is known yet; null: that is for the run loop.</param>
    /// <param name="spaces">How many <see cref="AddressSpace"/>s there are.</param>
    public JumpThunks(Emitter emitter, byte* unknown, EngineOptions options, PageWalkThunk? walk, int spaces)
    {
        _e = emitter;
        _unknown = unknown;
        _options = options;
        _walk = walk;
        _return = new nint[spaces];
        _jump = new nint[spaces];
        _call = new nint[spaces];
        _direct = new nint[spaces];
        _known = new nint[spaces];
        _knownSaved = new nint[spaces];
        _knownWithRcxInT1 = new nint[spaces];
        _returnSaving = new nint[spaces];
        _jumpSaving = new nint[spaces];
        if (options.Has(Optimizations.InlineCaches))
        {
            _fillSite = EmitFillSite();
        }

        for (int i = 0; i < spaces; i++)
        {
            Emit((AddressSpace)i);
        }
    }

    /// <summary>
    /// A return whose target is not what the topmost call frame says: T1 = target, T2 = a host address in the instruction's
    /// translation, where 32 bits tell the bytes it has popped. The frame goes: it belongs to the call that is returned from, or to none.
    /// </summary>
    /// <param name="space">Whose jump cache to ask.</param>
    /// <param name="saved">The flags are saved; else in RFLAGS.</param>
    public byte* Return(AddressSpace space, bool saved) => (byte*)(saved ? _return : _returnSaving)[(int)space];

    /// <summary>An indirect jump that the jump cache does not know, or a request is pending: S-&gt;Rip = target, and T2 as above.</summary>
    /// <param name="space">Whose jump cache to ask.</param>
    /// <param name="saved">The flags are saved; else in RFLAGS.</param>
    public byte* Jump(AddressSpace space, bool saved) => (byte*)(saved ? _jump : _jumpSaving)[(int)space];

    /// <summary>Called with a call frame, for a target that the jump cache does not know and that is canonical: S-&gt;JumpTarget.</summary>
    public byte* Call(AddressSpace space) => (byte*)_call[(int)space];

    /// <summary>A jump to a known target that the jump cache does not know; or called so, with a call frame: T1 = target.</summary>
    public byte* Direct(AddressSpace space) => (byte*)_direct[(int)space];

    /// <summary>As <see cref="Direct"/>, with the target in T2.</summary>
    /// <param name="space">Whose jump cache to ask.</param>
    /// <param name="saved">The flags are saved; else in RFLAGS.</param>
    public byte* Known(AddressSpace space, bool saved) => (byte*)(saved ? _knownSaved : _known)[(int)space];

    /// <summary>As <see cref="Direct"/>, with the target in T2 and RCX in T1.</summary>
    public byte* KnownWithRcxInT1(AddressSpace space) => (byte*)_knownWithRcxInT1[(int)space];

    /// <summary>A jump of floating code that the entry of its site does not know; or called so, with a call frame: T1 = target, T2 = the entry's place.</summary>
    /// <param name="saved">The flags are saved; else in RFLAGS.</param>
    public byte* Site(bool saved) => saved ? _site : _siteSaving;

    /// <summary>
    /// Called where an indirect jump or call of a program goes elsewhere than its site's entry says: S-&gt;JumpTarget, T1 = its code as
    /// the jump cache knows it, T2 = the entry's place. Fills the entry; T1 becomes the address of the body. RFLAGS are lost.
    /// </summary>
    public byte* FillSite => _fillSite;

    /// <summary>T1 = the body of the program's block of S-&gt;JumpTarget whose code T1 is. RFLAGS and the scratch register are lost.</summary>
    public void EmitToBody(int scratch)
    {
        if (!_options.Has(Optimizations.FloatingCode))
        {
            return;
        }

        byte* standsStill = null;
        if (!_options.FloatsEverywhere)
        {
            _e.LoadState(scratch, StateOffset.JumpTarget);
            _e.Rr(0xC1, ShiftRight, scratch);
            _e.Byte(32);
            standsStill = _e.ShortForward(0x74);    // jz
        }

        _e.Lea(T1, T1, Translator.LandingBytes);
        if (standsStill != null)
        {
            _e.LandShort(standsStill);
        }
    }

    private byte* EmitFillSite()
    {
        byte* start = _e.Here;
        _e.StoreState(StateOffset.JumpRcx, Rcx);
        _e.StoreState(StateOffset.JumpRax, Rax);
        EmitToBody(Rcx);
        _e.LoadState(Rcx, StateOffset.JumpTarget);
        _e.AddToFilled(StateOffset.UserSitesFilled, T2, Rax);
        _e.MovRr(Rax, T2);
        _e.Rr(0xC1, ShiftRight, Rax);
        _e.Byte(NativeJumpSites.EntryShift);
        _e.Rx(0xC6, 0, State, Rax, 0, StateOffset.UserSites + NativeJumpSites.MissesOffset, wide: false); // mov byte
        _e.Byte(NativeJumpSites.MostMisses);
        _e.JumpPlace(Rax, Rcx, AddressSpace.User);
        EmitEnter();
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.Byte(0xC3);
        return start;
    }

    /// <summary>Makes T1 the body that the site's entry at T2 has for the RIP in RCX, which stands at RAX in the jump cache. RCX and RFLAGS are lost.</summary>
    private void EmitEnter()
    {
        int sites = StateOffset.UserSites;
        _e.Rx(0x89, T1, State, T2, 0, sites + 8);
        _e.Rx(0x89, Rcx, State, T2, 0, sites);

        // Who throws the block away takes it out of the jump cache first.
        _e.Barrier();
        _e.Rx(0x03, Rcx, State, Rax, 0, StateOffset.Jumps(AddressSpace.User));
        byte* there = _e.ShortForward(0x74);
        _e.MovImm(Rcx, NativeJumpSites.NoRip);
        _e.Rx(0x89, Rcx, State, T2, 0, sites);
        _e.LandShort(there);
    }

    private void Emit(AddressSpace space)
    {
        int jumps = StateOffset.Jumps(space);

        _knownSaved[(int)space] = (nint)_e.Here;
        _e.MovRr(T1, T2);
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreStateImm(StateOffset.ExitHostPc, 0);
        byte* knownSaved = _e.JumpForward(-1);
        _knownWithRcxInT1[(int)space] = (nint)_e.Here;
        _e.MovRr(Rcx, T1);
        _known[(int)space] = (nint)_e.Here;
        _e.MovRr(T1, T2);
        byte* known = _e.ShortForward(ShortJump);
        _call[(int)space] = (nint)_e.Here;
        _e.LoadState(T1, StateOffset.JumpTarget);
        _e.LandShort(known);
        _direct[(int)space] = (nint)_e.Here;
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreStateImm(StateOffset.ExitHostPc, 0);
        _e.SaveFlags(T2);
        byte* direct = _e.JumpForward(-1);

        _returnSaving[(int)space] = (nint)_e.Here;
        _e.SaveFlagsByStack();
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

        _jumpSaving[(int)space] = (nint)_e.Here;
        _e.SaveFlagsByStack();
        _jump[(int)space] = (nint)_e.Here;
        _e.StoreState(StateOffset.ExitHostPc, T2);
        _e.Land(unknown);
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        byte* requestedToo = _e.JumpForward(JneCondition);
        _e.LoadState(T1, StateOffset.Rip);
        _e.Land(direct);
        _e.Land(knownSaved);
        byte* find = _e.Here;
        if (_options.Has(Optimizations.JumpsByPage))
        {
            EmitFind(space);
        }

        _e.Land(requested);
        _e.Land(requestedToo);
        _e.RestoreFlags(T1);
        _e.Jmp(_unknown);
        if (space == AddressSpace.User && _options.Has(Optimizations.JumpSites))
        {
            EmitSite(find);
        }
    }

    /// <summary>What the jump cache knows is entered for the site too; else it goes on at <paramref name="find"/>.</summary>
    private void EmitSite(byte* find)
    {
        int jumps = StateOffset.Jumps(AddressSpace.User);
        _siteSaving = _e.Here;
        _e.SaveFlagsByStack();
        _site = _e.Here;
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreStateImm(StateOffset.ExitHostPc, 0);
        _e.StoreState(StateOffset.JumpRcx, Rcx);
        _e.StoreState(StateOffset.JumpRax, Rax);
        _e.MovRr(Rcx, T1);
        _e.JumpPlace(Rax, T1, AddressSpace.User);
        _e.Rx(0x03, T1, State, Rax, 0, jumps);  // add: zero if it is this RIP
        byte* unknown = _e.JumpForward(JneCondition);
        byte* standsStill = null;
        if (!_options.FloatsEverywhere)
        {
            _e.MovRr(T1, Rcx);
            _e.Rr(0xC1, ShiftRight, T1);
            _e.Byte(32);
            standsStill = _e.JumpForward(JeCondition);
        }

        _e.AddToFilled(StateOffset.UserSitesFilled, T2, T1);
        _e.Rx(0x8B, T1, State, Rax, 0, jumps + 8);
        _e.Lea(T1, T1, Translator.LandingBytes);
        EmitEnter();
        if (standsStill != null)
        {
            _e.Land(standsStill);
        }

        _e.Rx(0x8B, T2, State, Rax, 0, jumps + 8);
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.RestoreFlags(T1);
        _e.Rr(0xFF, 4, T2, wide: false);        // jmp T2

        _e.Land(unknown);
        _e.MovRr(T1, Rcx);
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.Jmp(find);
    }

    /// <summary>T1 = target, the flags saved: jumps to it and enters it into the jump cache, or goes on behind.</summary>
    private void EmitFind(AddressSpace space)
    {
        int jumps = StateOffset.Jumps(space);
        _e.StoreState(StateOffset.JumpRcx, Rcx);
        _e.StoreState(StateOffset.JumpRax, Rax);

        // T2 = the physical page number, if the page is known.
        byte* again = _e.Here;
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
        _e.MovRr(Rax, T1);
        if (_options.Has(Optimizations.FloatingCode) && space == AddressSpace.User)
        {
            EmitFloatingKey();
        }

        _e.Crc32(Rcx, Rax);
        _e.Crc32More(Rcx, T2);
        _e.Rr(0xC1, ShiftRight, Rcx, wide: false);
        _e.Byte(NativeFoundBlocks.IndexShift);
        _e.Rx(0x8B, Rcx, State, Rcx, 2, StateOffset.FoundBlocks, wide: false);
        _e.Rm(0x03, Rcx, State, StateOffset.CodeStart);
        _e.Rm(0x3B, Rax, Rcx, BlockHeader.RipOffset); // cmp
        byte* otherRip = _e.JumpForward(JneCondition);
        _e.Rm(0x3B, T2, Rcx, BlockHeader.PlaceOffset);
        byte* otherPlace = _e.JumpForward(JneCondition);

        // Who throws a block away clears its header and then looks into the jump caches; here it is the other way round.
        _e.JumpPlace(Rax, T1, space);
        _e.AddToFilled(StateOffset.FilledJumps(space), Rax, T2);
        _e.Lea(T2, Rcx, BlockHeader.Size);
        _e.Rr(0xF7, 3, T1);                     // neg
        _e.Rx(0x89, T2, State, Rax, 0, jumps + 8);
        _e.Rx(0x89, T1, State, Rax, 0, jumps);
        _e.Barrier();
        _e.Rm(0x83, 7, Rcx, BlockHeader.PlaceOffset); // cmp
        _e.Byte(0);
        byte* gone = _e.JumpForward(JeCondition);
        byte* go = _e.Here;
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.RestoreFlags(T1);
        _e.Rr(0xFF, 4, T2, wide: false);        // jmp T2

        // As FirstLevelTlb empties it: RIP 1 is looked for in one entry only, and RIP 0 not there.
        _e.Land(gone);
        _e.Rr(0x31, T1, T1, wide: false);
        _e.Rr(0x81, 7, Rax, wide: false);       // cmp
        _e.Dword(NativeJumpCache.IndexOf(1, space) << NativeJumpCache.EntryShift);
        byte* entry1 = _e.ShortForward(0x74);
        _e.Rr(0xF7, 2, T1);                     // not
        _e.LandShort(entry1);
        _e.Rx(0x89, T1, State, Rax, 0, jumps);
        _e.Jmp(go);

        _e.Land(otherPage);
        if (_walk is not null)
        {
            EmitFetch(space, _walk, again);
        }

        _e.Land(otherRip);
        _e.Land(otherPlace);
        _e.LoadState(Rcx, StateOffset.JumpRcx);
        _e.LoadState(Rax, StateOffset.JumpRax);
    }

    /// <summary>Of a floating block, RAX becomes the offset in its page, and T2 tells that it floats, as in its <see cref="BlockHeader"/>. RCX is lost.</summary>
    private void EmitFloatingKey()
    {
        byte* standsStill = null;
        if (!_options.FloatsEverywhere)
        {
            _e.MovRr(Rcx, Rax);
            _e.Rr(0xC1, ShiftRight, Rcx);
            _e.Byte(32);
            standsStill = _e.ShortForward(0x74);    // jz
        }

        _e.Rr(0x81, And, Rax, wide: false);
        _e.Dword((int)GuestMemory.PageMask);
        _e.Rr(0x0FBA, 5, T2);                   // bts
        _e.Byte(NativeExecutedPages.PhysicalBits + BlockModes.FloatingBit);
        if (standsStill != null)
        {
            _e.LandShort(standsStill);
        }
    }

    /// <summary>
    /// T1 = target. If code may be fetched there by what the second-level TLB says, or else the paging structures, the page
    /// becomes known, and it goes on at <paramref name="found"/>; else behind. RAX and RCX are lost.
    /// </summary>
    private void EmitFetch(AddressSpace space, PageWalkThunk walk, byte* found)
    {
        int pages = StateOffset.ExecutedPages(space);
        _e.Push(Rdx);
        _e.LoadState(Rdx, StateOffset.SecondLevel);
        _e.Bits(T2, T1, GuestMemory.PageShift, NativePages.Entries - 1);
        _e.Rr(0xC1, ShiftLeft, T2, wide: false);
        _e.Byte(NativePage.SizeShift);
        _e.Rr(0x01, Rdx, T2);                   // add T2, rdx
        _e.MovRr(Rcx, T1);
        _e.Rr(0xC1, ShiftRight, Rcx);
        _e.Byte(GuestMemory.PageShift);
        _e.Rm(0x3B, Rcx, T2, SecondLevelSearch.PageNumber); // cmp
        byte* otherPage = _e.JumpForward(JneCondition);
        _e.Load(Rcx, T2, SecondLevelSearch.Stamp);
        _e.Rm(0x3B, Rcx, Rdx, NativePages.Offset(p => &p->Global));
        byte* global = _e.JumpForward(JeCondition);
        _e.Rm(0x3B, Rcx, Rdx, NativePages.Offset(p => &p->Local));
        byte* local = _e.JumpForward(JeCondition);
        _e.Land(otherPage);
        _e.Call(walk.Start);
        byte* unknown = _e.JumpForward(JeCondition);
        _e.Land(global);
        _e.Land(local);

        // Only a kernel's global pages: those that are not global are noted by the run loop.
        PageRights required = space == AddressSpace.User ? PageRights.User : PageRights.Global;
        PageRights looked = PageRights.User | PageRights.NoExecute | required;
        _e.Rm(0x0FB6, Rax, T2, SecondLevelSearch.Rights, wide: false); // movzx
        _e.Rr(0x83, And, Rax, wide: false);
        _e.Byte((int)looked);
        _e.Rr(0x83, 7, Rax, wide: false);       // cmp
        _e.Byte((int)required);
        byte* refused = _e.JumpForward(JneCondition);

        EmitSeenBit(pages);
        _e.Load(Rcx, T2, SecondLevelSearch.Gpa);
        _e.Rr(0xC1, ShiftRight, Rcx);
        _e.Byte(GuestMemory.PageShift);
        _e.MovRr(Rax, T1);
        _e.Rr(0xC1, ShiftLeft, Rax);
        _e.Byte(16);
        _e.Rr(0x81, And, Rax);
        _e.Dword(-1 << NativeExecutedPages.PhysicalBits);
        _e.Rr(0x09, Rax, Rcx);                  // or rcx, rax
        _e.Bits(Rax, T1, GuestMemory.PageShift, NativeExecutedPages.Entries - 1);
        _e.Rx(0x89, Rcx, State, Rax, 3, pages);
        _e.Pop(Rdx);
        _e.Jmp(found);

        _e.Land(unknown);
        _e.Land(refused);
        _e.Pop(Rdx);
    }

    /// <summary>As <see cref="NativeExecutedPages.SeenBit"/> of T1. RAX and RCX are lost.</summary>
    private void EmitSeenBit(int pages)
    {
        const int bits = NativeExecutedPages.SeenWords * 64;
        _e.MovRr(Rax, T1);
        _e.Rr(0xC1, ShiftRight, Rax);
        _e.Byte(12);
        _e.MovRr(Rcx, T1);
        _e.Rr(0xC1, ShiftRight, Rcx);
        _e.Byte(24);
        _e.Rr(0x31, Rcx, Rax, wide: false);     // xor eax, ecx
        _e.Rr(0x81, And, Rax, wide: false);
        _e.Dword(bits - 1);
        _e.MovRr(Rcx, T1);
        _e.Rr(0xC1, 7, Rcx);                    // sar
        _e.Byte(63);
        _e.Rr(0x81, And, Rcx, wide: false);
        _e.Dword(bits);
        _e.Rr(0x01, Rcx, Rax, wide: false);     // add
        _e.Rm(0x0FAB, Rax, State, pages + NativeExecutedPages.SeenOffset); // bts
    }
}
