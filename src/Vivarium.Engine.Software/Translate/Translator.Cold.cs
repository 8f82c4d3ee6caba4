using Vivarium.Engine.Software.CodeCache;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

internal sealed unsafe partial class Translator
{
    private void EmitCold(in ColdPart part)
    {
        _flags = FlagsAt.Host;
        if (part.Kind == ColdKind.Link)
        {
            NoteStub(part.Jump, part.Data);
        }
        else
        {
            Mark(part.Rip);
        }

        byte* displacement = part.Jump;
        _e.Land(displacement);
        switch (part.Kind)
        {
            case ColdKind.AsNext:
                break;
            case ColdKind.LoadExtended:
                EmitRecipe(part);
                _e.Call((part.Flags & FlagsAt.Recipe) != 0 ? _thunks.LoadExtended : _thunks.LoadExtendedWithSavedFlags);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.LoadExtendedKeepingFlags:
                _e.Call(_thunks.LoadExtendedWithRcxInT1);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Resolve:
            case ColdKind.ResolveAddress:
                EmitResolve(part, part.Kind == ColdKind.ResolveAddress);
                break;
            case ColdKind.ResolveOnStack:
                EmitResolveOnStack(part);
                break;
            case ColdKind.ResolveRunOnStack:
                EmitResolveRun(part, onStack: true);
                break;
            case ColdKind.ResolveRun:
                EmitResolveRun(part);
                break;
            case ColdKind.ResolveInWindow:
            case ColdKind.ResolveAddressInWindow:
                EmitResolveInWindow(part, part.Kind == ColdKind.ResolveAddressInWindow, (int)(part.Data >> 32));
                break;
            case ColdKind.FirstRound:
                RestoreFlags(part);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.LoopPage:
            case ColdKind.LoopPageAddress:
                EmitLoopPageMiss(part);
                EmitResolve(part, part.Kind == ColdKind.LoopPageAddress);
                break;
            case ColdKind.LoopPageOfRun:
                EmitLoopPageMiss(part);
                EmitResolveRun(part);
                break;
            case ColdKind.Trap:
                RestoreFlags(part);
                EmitTrapIndex((int)part.Data, part.Rip);
                EmitExitAt(part.Rip, ExitCode.Trap);
                break;
            case ColdKind.Careful:
                RestoreFlags(part);
                EmitExitAt(part.Rip, ExitCode.Careful);
                break;
            case ColdKind.Link:
                _e.Call(_thunks.Link);
                break;
            case ColdKind.Poll:
                EmitRecipe(part);
                _e.Call((part.Flags & FlagsAt.Recipe) != 0 ? _thunks.Poll : _thunks.PollWithSavedFlags);
                _e.Dword((int)(part.Data - _source.Rip));
                break;
            case ColdKind.PollKeepingFlags:
                _e.Call(_thunks.PollWithRcxInT1);
                _e.Dword((int)(part.Data - _source.Rip));
                break;
            case ColdKind.PollAtTarget:
                EmitRecipe(part);
                _e.Jmp((part.Flags & FlagsAt.Recipe) != 0 ? _thunks.PollAtTarget : _thunks.PollAtTargetWithSavedFlags);
                break;
            case ColdKind.MissByRip:
                EmitRecipe(part);
                EmitMissByRip(part);
                break;
            case ColdKind.SiteMiss:
                EmitRecipe(part);
                _e.MovImm(T2, (ulong)NativeJumpSites.PlaceOf(part.Rip, part.Data));
                EmitMissTo(part, _thunks.Jumps.Site(saved: (part.Flags & FlagsAt.Recipe) == 0));
                break;
            case ColdKind.Miss:
                if (IsSmall(part.Data))
                {
                    _e.MovRip(T2, part.Data);
                }

                _e.Jmp(_thunks.Jumps.KnownWithRcxInT1(_mode.Space()));
                break;
            case ColdKind.CrossPageJumpMiss:
                EmitRecipe(part);
                _e.MovRip(T2, part.Data);
                _e.Jmp(_thunks.Jumps.Known(_mode.Space(), saved: (part.Flags & FlagsAt.Recipe) == 0));
                break;
            case ColdKind.CrossPageCallMiss:
            case ColdKind.CrossPageCallMissNear:
                EmitRecipe(part);
                EmitCalledRip(T2, part.Data, part.Rip, part.Kind == ColdKind.CrossPageCallMissNear ? T1 : -1);
                _e.Call(_thunks.Jumps.Known(_mode.Space(), saved: (part.Flags & FlagsAt.Recipe) == 0));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.IndirectMiss:
            case ColdKind.ReturnMiss:
                EmitIndirectMiss(part);
                break;
            case ColdKind.IndirectRequest:
                _e.StoreState(StateOffset.Rip, T1);
                EmitIndirectMiss(part);
                break;
            case ColdKind.IndirectSiteMiss:
                EmitIndirectSiteMiss(part);
                break;
            case ColdKind.CallSiteMiss:
                _e.Land(EmitCallSiteMiss(part));
                goto case ColdKind.CallMiss;
            case ColdKind.CallMiss:
                _e.LoadState(T1, StateOffset.JumpTarget);
                EmitCanonicalTest(T1);
                byte* refused = _e.JumpForward(JaCondition);
                _e.LeaHost(T1, _thunks.Jumps.Call(_mode.Space()));
                _e.Jmp(part.Resume);
                _e.Land(refused);
                EmitRefusedTarget(part, popped: 0);
                break;
            case ColdKind.RefusedTarget:
                EmitRefusedTarget(part, (int)part.Data);
                break;
        }
    }

    /// <summary>T1 and T2 as <see cref="Thunks.Resolve"/> wants them: goes on with what it says.</summary>
    /// <param name="address">For an operand at T1 + T2.</param>
    private void EmitResolve(in ColdPart part, bool address)
    {
        var info = new AccessInfo((uint)part.Data);
        bool made = (part.Flags & FlagsAt.Recipe) != 0;
        if (made)
        {
            part.Recipe.Emit(_e);
        }

        _e.Call(_thunks.ResolveBrief(part.Space, info.Write, !made, address));
        EmitResolveData(part, info);
    }

    /// <summary>As <see cref="EmitResolve"/>, for an access that is not to the page that the stack pointer was in last.</summary>
    private void EmitResolveOnStack(in ColdPart part)
    {
        var info = new AccessInfo((uint)part.Data);
        bool made = (part.Flags & FlagsAt.Recipe) != 0;
        EmitRecipe(part);
        _e.Call(_thunks.ResolveOnStack(part.Space, info.Write, !made));
        EmitResolveData(part, info);
    }

    private void EmitMissByRip(in ColdPart part)
    {
        _e.LoadState(T2, StateOffset.Rip);
        EmitMissTo(part, _thunks.Jumps.Known(_mode.Space(), saved: (part.Flags & FlagsAt.Recipe) == 0));
    }

    /// <summary>Goes to a thunk as the jump would have gone to its target.</summary>
    private void EmitMissTo(in ColdPart part, byte* thunk)
    {
        if (part.Resume == null)
        {
            _e.Jmp(thunk);
            return;
        }

        _e.Call(thunk);
        _e.Jmp(part.Resume);
    }

    private void EmitResolveData(in ColdPart part, AccessInfo info)
    {
        _e.JmpBack(part.Resume);
        _e.Word(info.Brief);
    }

    /// <summary>As <see cref="EmitResolve"/>, and the jump to take where it cannot be.</summary>
    private void EmitResolveRun(in ColdPart part, bool onStack = false)
    {
        var info = new AccessInfo((uint)part.Data);
        bool made = (part.Flags & FlagsAt.Recipe) != 0;
        EmitRecipe(part);
        _e.Call(onStack ? _thunks.ResolveRunOnStack(part.Space, info.Write, !made) : _thunks.ResolveRun(part.Space, info.Write, !made));
        EmitResolveData(part, info);
        _e.Word((ushort)(part.Data >> RunStartShift));
        if (AlignJumps)
        {
            _e.AlignDisplacement(-1);
        }

        byte* jump = _e.JumpForward(-1);
        NoteStub(jump, part.Rip, Block.StubApart);
        _e.Land(jump);
        _e.Call(_thunks.LinkApart);
    }

    /// <summary>What stands here is where a jump goes that is not linked.</summary>
    private void NoteStub(byte* jump, ulong target, int kind = 0)
    {
        _stubs.Add((ushort)(_e.ToExecutable(jump) - _blockCode));
        _stubs.Add((ushort)(_e.Here - _blockCode));
        _stubs.Add((ushort)(((_source.Linear + (target - _source.Rip)) & GuestMemory.PageMask) | (uint)kind));
    }

    /// <summary>As <see cref="EmitResolve"/>, and notes what it says in a window.</summary>
    /// <param name="window">As in <see cref="EmitAccess"/>.</param>
    private void EmitResolveInWindow(in ColdPart part, bool address, int window)
    {
        if ((part.Flags & FlagsAt.Saved) == 0)
        {
            part.Recipe.Emit(_e);
            _e.StoreState(StateOffset.JumpRcx, T2);
            _e.SaveFlags(T2);
            _e.LoadState(T2, StateOffset.JumpRcx);
        }

        _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
        _e.Call(_thunks.Resolve(part.Space, ((uint)part.Data & AccessInfo.WriteBit) != 0));
        EmitNoteResolved(window);
        if (address)
        {
            _e.Rr(0x31, T2, T2, wide: false);   // xor
        }

        _e.Jmp(part.Resume);
    }

    /// <summary>For <see cref="ExitCode.Jump"/>: which instruction jumps, and what it has popped.</summary>
    private void EmitIndirectMiss(in ColdPart part)
    {
        const int sizeOfJump = 5;
        EmitRecipe(part);
        bool saved = (part.Flags & FlagsAt.Recipe) == 0;
        AddressSpace space = _mode.Space();
        _e.LeaHostAhead(T2, sizeOfJump);
        _e.Jmp(part.Kind == ColdKind.ReturnMiss ? _thunks.Jumps.Return(space, saved) : _thunks.Jumps.Jump(space, saved));
        _e.Dword((int)part.Data);
    }

    /// <summary>Goes on by the jump cache, and fills the entry of the site if it has missed often enough.</summary>
    private void EmitIndirectSiteMiss(in ColdPart part)
    {
        _e.StoreState(StateOffset.Rip, T1);
        _e.StoreState(StateOffset.JumpTarget, T1);
        EmitProbe();
        byte* unknown = _e.JumpForward(JnzCondition);
        _e.Rx(0x8B, T1, State, T2, 0, StateOffset.Jumps(AddressSpace.User) + 8);
        _e.StoreState(StateOffset.JumpCode, T1);
        byte* often = EmitCountMiss((int)part.Data);
        EmitFillSite((int)part.Data);
        _e.LandShort(often);
        if ((part.Flags & FlagsAt.Host) == 0)
        {
            MakeFlags(part.Flags, part.Recipe, T1);
        }

        _e.Rm(0xFF, 4, State, StateOffset.JumpCode, wide: false);
        _e.Land(unknown);
        EmitIndirectMiss(new ColdPart(ColdKind.IndirectMiss, part.Rip, null, null, 0, part.Flags, recipe: part.Recipe));
    }

    /// <summary>The same for a call, whose target's body is in T1 afterwards. Returns the jump to be landed where the jump cache does not know the target either.</summary>
    private byte* EmitCallSiteMiss(in ColdPart part)
    {
        EmitProbe();
        byte* unknown = _e.JumpForward(JnzCondition);
        _e.Rx(0x8B, T1, State, T2, 0, StateOffset.Jumps(AddressSpace.User) + 8);
        byte* often = EmitCountMiss((int)part.Data);
        EmitFillSite((int)part.Data);
        _e.Jmp(part.Resume);
        _e.LandShort(often);
        _thunks.Jumps.EmitToBody(T2);
        _e.Jmp(part.Resume);
        return unknown;
    }

    /// <summary>Returns the jump to be landed where the entry of a site is not to be filled.</summary>
    private byte* EmitCountMiss(int site)
    {
        _e.Rm(0xFE, 1, State, StateOffset.UserSites + NativeJumpSites.MissesOf(site), wide: false); // dec
        return _e.ShortForward(0x79);           // jns
    }

    /// <summary>As <see cref="JumpThunks.FillSite"/>. T2 is lost.</summary>
    private void EmitFillSite(int site)
    {
        _e.MovImm(T2, (ulong)site);
        _e.Call(_thunks.Jumps.FillSite);
    }

    /// <param name="part">Of the instruction whose target is refused.</param>
    /// <param name="popped">What it has added to the stack pointer.</param>
    private void EmitRefusedTarget(in ColdPart part, int popped)
    {
        RestoreFlags(part);
        if (popped != 0)
        {
            EmitAdjustStack(-popped);
        }

        EmitExitAt(part.Rip, ExitCode.Protection);
    }

    /// <summary>The flags are in RFLAGS if they can be made again; else they are saved.</summary>
    private void EmitRecipe(in ColdPart part)
    {
        if ((part.Flags & FlagsAt.Recipe) != 0)
        {
            part.Recipe.Emit(_e);
        }
    }

    /// <summary>Before an exit: the flags are in RFLAGS. T2 is lost.</summary>
    private void RestoreFlags(in ColdPart part)
    {
        if ((part.Flags & FlagsAt.Host) == 0)
        {
            MakeFlags(part.Flags, part.Recipe, T2);
        }
    }
}
